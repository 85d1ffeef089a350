SUMMARY = "First boot of a Pattoo box"
DESCRIPTION = "Gives the box its name and what it shows to the server, from a folder of the boot partition."

require recipes-pattoo/pattoo/pattoo.inc

SRC_URI += "\
    file://pattoo-provision;subdir=${BP} \
    file://pattoo-provision.service;subdir=${BP} \
"

inherit systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

SYSTEMD_SERVICE:${PN} = "pattoo-provision.service"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/pattoo-provision ${D}${nonarch_libdir}/pattoo/pattoo-provision
    install -D -m 0644 ${S}/pattoo-provision.service ${D}${systemd_system_unitdir}/pattoo-provision.service
}

FILES:${PN} += "${nonarch_libdir}/pattoo ${systemd_system_unitdir}"
# The configuration is made from the packaged one, where there is a gateway.
RDEPENDS:${PN} = "pattoo-data"
