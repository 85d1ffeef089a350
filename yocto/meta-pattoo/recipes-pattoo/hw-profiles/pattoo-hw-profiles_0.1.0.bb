SUMMARY = "Device profiles for the Pattoo gateway"
DESCRIPTION = "One YAML file for each device model: which registers, objects or OIDs it has, and what they mean."

require recipes-pattoo/pattoo/pattoo.inc

SRC_URI += "\
    file://hw-profiles;subdir=${BP} \
"

inherit allarch

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${datadir}/pattoo/hw-profiles
    # The fixtures beside them are for tests.
    install -m 0644 ${S}/hw-profiles/*.yaml ${D}${datadir}/pattoo/hw-profiles
}

FILES:${PN} += "${datadir}/pattoo/hw-profiles"
