SUMMARY = "Checks before and after an update of a Pattoo box"
DESCRIPTION = "Refuses an update that would lose the buffer, and marks a slot good only once the daemon is ready and stays so."

require recipes-pattoo/pattoo/pattoo.inc

SRC_URI += "\
    file://pattoo-health;subdir=${BP} \
    file://pattoo-health.service;subdir=${BP} \
    file://pattoo-post-update;subdir=${BP} \
    file://pattoo-pre-update;subdir=${BP} \
"

inherit systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

SYSTEMD_SERVICE:${PN} = "pattoo-health.service"

# Which daemon has to be well before a slot is good; an image without a gateway says pattoo-server.service.
PATTOO_HEALTH_UNIT ?= "pattoo-gateway.service"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${nonarch_libdir}/pattoo
    install -m 0755 ${S}/pattoo-health ${S}/pattoo-post-update ${S}/pattoo-pre-update ${D}${nonarch_libdir}/pattoo
    install -D -m 0644 ${S}/pattoo-health.service ${D}${systemd_system_unitdir}/pattoo-health.service
    sed -i 's/@PATTOO_UNIT@/${PATTOO_HEALTH_UNIT}/' ${D}${systemd_system_unitdir}/pattoo-health.service
}

FILES:${PN} += "${nonarch_libdir}/pattoo ${systemd_system_unitdir}"
RDEPENDS:${PN} = "pattoo-data"
