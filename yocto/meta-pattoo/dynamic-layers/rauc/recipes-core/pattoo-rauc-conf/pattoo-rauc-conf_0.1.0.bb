SUMMARY = "RAUC's configuration of a Pattoo box"
DESCRIPTION = "Two slots, the checks around an update, and the keyring that RAUC_KEYRING_FILE names: which keys a box trusts is yours to say."

require recipes-pattoo/pattoo/pattoo.inc

# Certificates whose updates the box takes: an absolute path. There is no default, nor an example key.
RAUC_KEYRING_FILE ??= ""

SRC_URI += "file://system.conf;subdir=${BP}"

PACKAGE_ARCH = "${MACHINE_ARCH}"

# What a bundle must be made for, how the bootloader keeps its slots, and which disk they are on.
PATTOO_COMPATIBLE ?= "pattoo-${MACHINE}"
PATTOO_BOOTLOADER ?= "uboot"
PATTOO_DISK ?= "/dev/mmcblk0p"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install[file-checksums] += "${@d.getVar('RAUC_KEYRING_FILE') + ':True' if d.getVar('RAUC_KEYRING_FILE') else ''}"
do_install() {
    if [ ! -s "${RAUC_KEYRING_FILE}" ]; then
        bbfatal "RAUC_KEYRING_FILE names no file: found \"${RAUC_KEYRING_FILE}\", expected the path of the certificates whose updates the box is to take"
    fi
    install -D -m 0644 "${RAUC_KEYRING_FILE}" ${D}${sysconfdir}/rauc/keyring.pem
    install -m 0644 ${S}/system.conf ${D}${sysconfdir}/rauc/system.conf
    sed -i -e 's|@COMPATIBLE@|${PATTOO_COMPATIBLE}|' -e 's|@BOOTLOADER@|${PATTOO_BOOTLOADER}|' -e 's|@DISK@|${PATTOO_DISK}|' \
        ${D}${sysconfdir}/rauc/system.conf
}

RDEPENDS:${PN} = "pattoo-update"
RPROVIDES:${PN} += "virtual-rauc-conf"
RCONFLICTS:${PN} += "rauc-conf"
