SUMMARY = "Update of a Pattoo box, for RAUC"
DESCRIPTION = "The image of the other slot, signed. RAUC_KEY_FILE and RAUC_CERT_FILE name the key, which is never part of a layer."
HOMEPAGE = "https://github.com/PalisadoesFoundation/pattoo"
BUGTRACKER = "https://github.com/PalisadoesFoundation/pattoo/issues"
SECTION = "images"
LICENSE = "MIT | Apache-2.0"
CVE_PRODUCT = "pattoo"

# Only the image of another recipe goes into it.
SRC_URI = ""

inherit bundle

PATTOO_COMPATIBLE ?= "pattoo-${MACHINE}"

RAUC_BUNDLE_COMPATIBLE = "${PATTOO_COMPATIBLE}"
RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_SLOTS = "rootfs"
RAUC_SLOT_rootfs = "pattoo-image"
RAUC_SLOT_rootfs[fstype] = "ext4"
RAUC_SLOT_rootfs[adaptive] = "block-hash-index"

# Which formats of the buffer the new version reads: a box with another one refuses the bundle, see pattoo-pre-update.
RAUC_META_SECTIONS = "pattoo"
RAUC_META_pattoo[buffer-formats] = "1"
