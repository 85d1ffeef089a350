SUMMARY = "Pattoo on a box: gateway, profiles, and what keeps them over updates"
DESCRIPTION = "The gateway with its device profiles, the data partition, the first boot, and the checks around an update. packagegroup-pattoo-server has the server."
HOMEPAGE = "https://github.com/PalisadoesFoundation/pattoo"
BUGTRACKER = "https://github.com/PalisadoesFoundation/pattoo/issues"
SECTION = "net"
CVE_PRODUCT = "pattoo"

# Which packages these are depends on the machine: a static program is of its architecture.
PACKAGE_ARCH = "${TUNE_PKGARCH}"

inherit packagegroup

PACKAGES = "${PN} ${PN}-server"

PATTOO_SUFFIX = "${@'-bin' if d.getVar('PATTOO_PREBUILT') == '1' else ''}"

RDEPENDS:${PN} = "\
    ca-certificates \
    pattoo-data \
    pattoo-gateway${PATTOO_SUFFIX} \
    pattoo-hw-profiles \
    pattoo-provision \
    pattoo-update \
"
RDEPENDS:${PN}-server = "\
    ca-certificates \
    pattoo-data-server \
    pattoo-provision \
    pattoo-server${PATTOO_SUFFIX} \
    pattoo-update \
"

# Days and months of time zones.
RRECOMMENDS:${PN} = "tzdata"
RRECOMMENDS:${PN}-server = "tzdata"
