SUMMARY = "Image of a Pattoo gateway: flash, boot, forget"
DESCRIPTION = "A root that stays as it is in one of two slots, and a data partition for configuration and buffer. With meta-rauc it is updated by pattoo-bundle."
HOMEPAGE = "https://github.com/PalisadoesFoundation/pattoo"
BUGTRACKER = "https://github.com/PalisadoesFoundation/pattoo/issues"
SECTION = "images"
LICENSE = "MIT | Apache-2.0"
CVE_PRODUCT = "pattoo"

inherit core-image features_check

REQUIRED_DISTRO_FEATURES = "systemd"

# Nobody can log in: who wants to adds ssh-server-dropbear and a key.
IMAGE_FEATURES += "read-only-rootfs"
IMAGE_INSTALL = "packagegroup-core-boot packagegroup-pattoo ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_INSTALL:append = " ${@'rauc pattoo-rauc-conf' if 'rauc' in (d.getVar('BBFILE_COLLECTIONS') or '').split() else ''}"
# It marks every slot good that boots at all; pattoo-health waits for the daemon. The configuration is Pattoo's own.
BAD_RECOMMENDATIONS += "rauc-conf rauc-mark-good"

# ext4 goes into the bundle, wic onto a new card.
IMAGE_FSTYPES = "ext4 wic.gz wic.bmap"

# In full: wrynose looks for its files in files/wic of a layer and minds a folder wic, scarthgap the other way round.
WKS_FILE = "${PATTOO_LAYERDIR}/files/wic/pattoo-ab.wks.in"
# The plugin of wic that fills the boot partition of this machine, as the machine's layer has it.
PATTOO_BOOT_SOURCE ?= "bootimg-partition"
# Each of the two slots, in MiB; an update can never be larger.
PATTOO_SLOT_MIB ?= "768"
WICVARS:append = " PATTOO_BOOT_SOURCE PATTOO_SLOT_MIB"
IMAGE_ROOTFS_MAXSIZE ?= "${@int(d.getVar('PATTOO_SLOT_MIB')) * 1024}"
