SUMMARY = "Data partition of a Pattoo box"
DESCRIPTION = "Mounts the partition that outlives updates, with the configuration and what the daemons store, over a root that stays as it is."

require recipes-pattoo/pattoo/pattoo.inc

SRC_URI += "\
    file://boot.mount;subdir=${BP} \
    file://data.mount;subdir=${BP} \
    file://etc-pattoo.mount;subdir=${BP} \
    file://gateway.conf;subdir=${BP} \
    file://server.conf;subdir=${BP} \
    file://var-lib-pattoo.mount;subdir=${BP} \
"

PACKAGE_BEFORE_PN = "${PN}-server"

inherit systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

SYSTEMD_SERVICE:${PN} = "boot.mount data.mount etc-pattoo.mount var-lib-pattoo.mount"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${systemd_system_unitdir}/local-fs.target.wants ${D}/data
    install -m 0644 ${S}/*.mount ${D}${systemd_system_unitdir}
    install -D -m 0644 ${S}/gateway.conf ${D}${systemd_system_unitdir}/pattoo-gateway.service.d/data.conf
    install -D -m 0644 ${S}/server.conf ${D}${systemd_system_unitdir}/pattoo-server.service.d/data.conf
    # A mount unit is named after its folder, and a dash in that is written as systemd escapes it; class systemd takes no such name.
    server='var-lib-pattoo\x2dserver.mount'
    sed -e 's|/var/lib/pattoo$|/var/lib/pattoo-server|' -e 's|/data/pattoo/lib$|/data/pattoo/server|' -e 's|Buffer|Store|' \
        ${S}/var-lib-pattoo.mount > "${D}${systemd_system_unitdir}/$server"
    ln -s "../$server" "${D}${systemd_system_unitdir}/local-fs.target.wants/$server"
}

FILES:${PN}-server += "\
    ${systemd_system_unitdir}/local-fs.target.wants \
    ${systemd_system_unitdir}/pattoo-server.service.d \
    ${systemd_system_unitdir}/var-lib-pattoo?x2dserver.mount \
"
FILES:${PN} += "/data ${systemd_system_unitdir}"
# Checks the filesystem and makes it as large as its partition.
RDEPENDS:${PN} = "e2fsprogs-e2fsck e2fsprogs-resize2fs"
RDEPENDS:${PN}-server = "${PN}"
