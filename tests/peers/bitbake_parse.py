"""Parses the layer meta-pattoo with bitbake's own parser and unpacks recipes with its own fetchers, without openembedded-core.

The classes of openembedded-core are empty here, its bitbake.conf is the few lines that recipes are parsed with. What this shows: the layer
and each recipe are bitbake's language, variables are what they should be, each file that a recipe names is there, and each crate is the one
that its checksum says.

    bitbake_parse.py FOLDER LAYER RELEASE [CRATES]   prints JSON: recipe -> variables; with CRATES (*.crate) also what was unpacked

PATTOO_TARBALLS names a folder with the static programs of a release: the recipe that takes the gateway's unpacks it.
"""

import hashlib
import json
import os
import sys
import types
from pathlib import Path

# A server of checksums that the package does not bring; parsing and unpacking ask none.
sys.modules |= {name: types.ModuleType(name) for name in ["hashserv", "hashserv.client"]}

import bb
import bb.cookerdata
import bb.fetch2

CLASSES = {
    "classes-global": ["base", "sanity"],
    "classes-recipe": ["allarch", "bundle", "cargo", "core-image", "features_check", "packagegroup", "systemd", "useradd"],
}
# What openembedded-core has and the recipes build upon; UNPACKDIR and S are where these releases differ.
BITBAKE_CONF = """
TOPDIR = "@FOLDER@"
TMPDIR = "${TOPDIR}/tmp"
CACHE = "${TMPDIR}/cache"
PERSISTENT_DIR = "${TOPDIR}/cache"
DL_DIR = "${TOPDIR}/downloads"
PATH = "@PATH@"
MACHINE = "qemuarm64"
TUNE_PKGARCH = "aarch64"
MACHINE_ARCH = "qemuarm64"
DISTRO_FEATURES = "systemd usrmerge"
PN = "${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[0] or 'defaultpkgname'}"
PV = "${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[1] or '1.0'}"
BPN = "${PN}"
BP = "${BPN}-${PV}"
P = "${PN}-${PV}"
WORKDIR = "${TMPDIR}/work/${PN}/${PV}"
T = "${WORKDIR}/temp"
D = "${WORKDIR}/image"
B = "${S}"
LAYERSERIES_CORENAMES = "@RELEASE@"
FILE_DIRNAME = "${@os.path.dirname(d.getVar('FILE', False))}"
FILESPATH = "${@d.getVar('FILESEXTRAPATHS').removesuffix('__default:')}${FILE_DIRNAME}/${BPN}:${FILE_DIRNAME}/files"
FILESEXTRAPATHS ?= "__default:"
OVERRIDES = "linux:aarch64:${MACHINE}:pn-${PN}:forcevariable"
BB_SIGNATURE_HANDLER = "noop"
BB_HASHSERVE = ""
BB_NO_NETWORK = "1"
LICENSE = "INVALID"
PACKAGES = "${PACKAGE_BEFORE_PN} ${PN}"
PACKAGE_BEFORE_PN = ""
base_prefix = ""
prefix = "/usr"
bindir = "/usr/bin"
base_sbindir = "/usr/sbin"
datadir = "/usr/share"
sysconfdir = "/etc"
localstatedir = "/var"
nonarch_libdir = "/usr/lib"
nonarch_base_libdir = "/usr/lib"
systemd_system_unitdir = "/usr/lib/systemd/system"
CARGO_TARGET_SUBDIR = "aarch64-oe-linux-gnu/${BUILD_DIR}"
IMAGE_FEATURES = ""
require conf/bblayers-of-release.conf
"""
RELEASES = {
    "scarthgap": 'S = "${WORKDIR}/${BP}"\n',
    "wrynose": 'UNPACKDIR = "${WORKDIR}/sources"\nS = "${UNPACKDIR}/${BP}"\n',
}
SHOWN = ["SUMMARY", "DESCRIPTION", "LICENSE", "LIC_FILES_CHKSUM", "DEPENDS", "PROVIDES", "COMPATIBLE_HOST", "S", "BUILD_MODE", "BUILD_DIR", "PACKAGES"]
SHOWN += ["PATTOO_PROGRAM", "PATTOO_WEB", "CARGO_BUILD_FLAGS", "IMAGE_INSTALL", "IMAGE_FEATURES", "IMAGE_FSTYPES", "WKS_FILE", "SYSTEMD_SERVICE", "do_install"]
# The others have the same crates.
UNPACKED = "pattoo-gateway"
PREBUILT = "pattoo-gateway-bin"
PER_PACKAGE = ["RDEPENDS", "RPROVIDES", "RCONFLICTS", "FILES", "SYSTEMD_SERVICE", "USERADD_PARAM"]


def core(folder: Path, layer: str, release: str) -> None:
    """The stand-in for openembedded-core, and a build folder that names both layers."""
    meta = folder / "meta"
    for kind, names in CLASSES.items():
        (meta / kind).mkdir(parents=True)
        for name in names:
            (meta / kind / f"{name}.bbclass").write_text("addtask build\ndo_build() {\n}\n" if name == "base" else "")
    (meta / "conf").mkdir()
    text = BITBAKE_CONF.replace("@FOLDER@", str(folder)).replace("@RELEASE@", release).replace("@PATH@", os.environ["PATH"])
    (meta / "conf/bitbake.conf").write_text(text)
    (meta / "conf/bblayers-of-release.conf").write_text(RELEASES[release])
    names = 'BBFILE_COLLECTIONS += "core rauc openembedded-layer"\nBBFILE_PATTERN_core = "^${LAYERDIR}/"\nBBFILE_PATTERN_rauc = ""\nBBFILE_PATTERN_openembedded-layer = ""\n'
    (meta / "conf/layer.conf").write_text(f'BBPATH .= ":${{LAYERDIR}}"\n{names}LAYERSERIES_COMPAT_core = "{release}"\nLAYERSERIES_CORENAMES = "{release}"\n')
    (folder / "conf").mkdir()
    (folder / "conf/bblayers.conf").write_text(f'BBPATH = "${{TOPDIR}}"\nBBFILES ?= ""\nBBLAYERS = "{meta} {layer}"\n')
    (folder / "downloads").mkdir()


def unpacked(data, crates: str) -> dict:
    """What bitbake makes of SRC_URI, with these crates as what was downloaded: it checks each one's checksum."""
    downloads = Path(data.getVar("DL_DIR"))
    for crate in Path(crates).glob("*.crate"):
        if not (downloads / crate.name).exists():
            (downloads / crate.name).symlink_to(crate)
    urls = [url for url in data.getVar("SRC_URI").split() if url.startswith(("crate:", "file:"))]
    root = data.getVar("UNPACKDIR") or data.getVar("WORKDIR")
    fetch = bb.fetch2.Fetch(urls, data)
    fetch.download()
    fetch.unpack(root)
    vendored = Path(root) / "cargo_home/bitbake"
    return {"source": data.getVar("S"), "vendored": str(vendored), "crates": len(list(vendored.glob("*/Cargo.toml")))}


def recipe(builder, file: str, crates: str | None) -> dict:
    data = builder.parseRecipe(file, [], "pattoo")
    tarballs = os.environ.get("PATTOO_TARBALLS")
    if tarballs:
        data.setVar("PATTOO_RELEASES", f"file://{tarballs}")
    found = {name: data.getVar(name) for name in SHOWN}
    found |= {f"{name}:{package}": data.getVar(f"{name}:{package}") for name in PER_PACKAGE for package in (data.getVar("PACKAGES") or data.getVar("PN")).split()}
    urls = (data.getVar("SRC_URI") or "").split()
    found["SRC_URI"] = urls
    # Of every URL but that of a release: without a checksum bitbake would refuse it at the first build.
    for url in urls:
        fetcher = bb.fetch2.FetchData(url, data)
        if fetcher.type == "crate" and not fetcher.sha256_expected:
            raise SystemExit(f"{file}: {url} has no checksum")
        # Of a release whose tarballs are not all there, one recipe is asked for.
        if fetcher.type == "file" and not (tarballs and url.startswith(f"file://{tarballs}") and data.getVar("PN") != PREBUILT):
            fetcher.setup_localpath(data)
            if not os.path.exists(fetcher.localpath):
                raise SystemExit(f"{file}: {url}: there is no such file")
    for licence in (data.getVar("LIC_FILES_CHKSUM") or "").split():
        name, _, expected = licence.removeprefix("file://").partition(";md5=")
        found_sum = hashlib.md5((Path(data.getVar("PATTOO_SOURCE")) / name).read_bytes()).hexdigest()
        if found_sum != expected:
            raise SystemExit(f"{file}: {name} has MD5 {found_sum}, the recipe says {expected}")
    if crates and data.getVar("PN") == UNPACKED:
        found["unpacked"] = unpacked(data, crates)
    if tarballs and data.getVar("PN") == PREBUILT:
        found["unpacked"] = unpacked(data, tarballs)
    return {name: value for name, value in found.items() if value is not None}


def main(folder: str, layer: str, release: str, crates: str | None = None) -> None:
    core(Path(folder), layer, release)
    os.chdir(folder)
    os.environ["BBPATH"] = folder
    config = bb.cookerdata.CookerConfiguration()
    builder = bb.cookerdata.CookerDataBuilder(config, False)
    builder.parseBaseConfiguration()
    files = sorted(str(file) for pattern in builder.data.getVar("BBFILES").split() for file in Path("/").glob(pattern.lstrip("/")))
    json.dump({Path(file).stem: recipe(builder, file, crates) for file in files}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
