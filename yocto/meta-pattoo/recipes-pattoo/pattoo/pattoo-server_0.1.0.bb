SUMMARY = "Stores what Pattoo gateways send and serves it as charts"
DESCRIPTION = "The server of Pattoo: MQTT broker, store and chart page in one program. It acknowledges what is on stable storage."

DEPENDS += "${@'nodejs-native' if d.getVar('PATTOO_WEB') == 'on' else ''}"

require pattoo-source.inc
require pattoo-web-modules.inc
require pattoo-server.inc

# Packages that build the page: the build script is to look for them here rather than ask npm.
SRC_URI += "${@d.getVar('PATTOO_WEB_URIS') if d.getVar('PATTOO_WEB') == 'on' else ''}"
export PATTOO_WEB
export PATTOO_WEB_MODULES = "${@os.path.join(d.getVar('UNPACKDIR') or d.getVar('WORKDIR'), 'web-modules/node_modules')}"
