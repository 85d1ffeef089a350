//! Builds the chart page and makes it part of the server: copies `web/` into `OUT_DIR`, installs what its lock file names,
//! builds it, and writes a table of the packed files. Nothing outside `OUT_DIR` is written.
//!
//! `PATTOO_WEB=off` leaves the page out; then neither Node.js nor the network is needed. `PATTOO_WEB_MODULES` names a folder that holds
//! what the lock file names, already installed; then npm and the network are not needed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What of `web/` makes the page; everything else there (such as `node_modules`) is not looked at.
const SOURCES: [&str; 6] = [".npmrc", "package.json", "package-lock.json", "index.html", "tsconfig.json", "vite.config.ts"];

/// Folders of sources.
const FOLDERS: [&str; 3] = ["src", "public", "test"];

/// The page of a server that was built without the chart page.
const PLAIN: &str = include_str!("web/plain.html");

fn main() {
    println!("cargo::rerun-if-env-changed=PATTOO_WEB");
    println!("cargo::rerun-if-env-changed=PATTOO_WEB_MODULES");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=web/plain.html");
    if let Err(what) = build() {
        println!("cargo::error={what}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let files = match env::var("PATTOO_WEB").as_deref() {
        Ok("off") => vec![("index.html".to_owned(), PLAIN.as_bytes().to_vec())],
        Ok("on") | Err(_) => page(&out)?,
        Ok(other) => return Err(format!("PATTOO_WEB={other:?} is neither on nor off")),
    };
    write_table(&out, files).map_err(|e| format!("{}: {e}", out.display()))
}

/// The files of the built page, by path.
fn page(out: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let folder = out.join("web");
    let told = |e: io::Error| format!("web page in {}: {e}", folder.display());
    copy_sources(Path::new("web"), &folder).map_err(told)?;
    match env::var_os("PATTOO_WEB_MODULES").filter(|modules| !modules.is_empty()) {
        Some(modules) => link(Path::new(&modules), &folder.join("node_modules")).map_err(told)?,
        None => install(out, &folder)?,
    }
    let vite = folder.join("node_modules/vite/bin/vite.js");
    run(Command::new("node").arg(vite).args(["build", "--logLevel", "warn"]).current_dir(&folder))?;
    let dist = folder.join("dist");
    let mut files = Vec::new();
    collect(&dist, &dist, &mut files).map_err(told)?;
    files.sort();
    Ok(files)
}

/// Copies the sources; what is no longer among them goes.
fn copy_sources(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in SOURCES {
        println!("cargo::rerun-if-changed={}", from.join(name).display());
        fs::copy(from.join(name), to.join(name))?;
    }
    for name in FOLDERS {
        let target = to.join(name);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        copy_folder(&from.join(name), &target)?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", from.display());
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            println!("cargo::rerun-if-changed={}", entry.path().display());
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Uses packages that are installed already.
fn link(modules: &Path, here: &Path) -> io::Result<()> {
    if here.is_symlink() {
        fs::remove_file(here)?;
    } else if here.exists() {
        fs::remove_dir_all(here)?;
    }
    std::os::unix::fs::symlink(fs::canonicalize(modules)?, here)
}

/// Installs what the lock file names, if it is not what is installed already.
fn install(out: &Path, folder: &Path) -> Result<(), String> {
    let lock = fs::read(folder.join("package-lock.json")).map_err(|e| format!("web/package-lock.json: {e}"))?;
    let mark = out.join("installed-lock.json");
    let modules = folder.join("node_modules");
    if modules.is_symlink() {
        // Of an earlier build, see `link`; npm would write into what it leads to.
        fs::remove_file(&modules).map_err(|e| format!("{}: {e}", modules.display()))?;
    }
    if fs::read(&mark).is_ok_and(|installed| installed == lock) && modules.is_dir() {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--cache"]).arg(out.join("npm-cache"));
    // npm writes its logs and update marks below the home folder otherwise.
    npm.env("npm_config_update_notifier", "false").env("npm_config_logs_max", "0");
    run(npm.current_dir(folder))?;
    fs::write(&mark, lock).map_err(|e| format!("{}: {e}", mark.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            format!("{name} is not there to build the web page: install Node.js 20+ with npm, or set PATTOO_WEB=off")
        }
        _ => format!("{name}: {e}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    eprintln!("{}", String::from_utf8_lossy(&said));
    let last = String::from_utf8_lossy(&said).lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    Err(format!("the web page could not be built ({name}: {}): {last}; mend that, or set PATTOO_WEB=off", output.status))
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((name, fs::read(&path)?));
        }
    }
    Ok(())
}

/// Packs each file and writes the table that `src/web.rs` includes.
fn write_table(out: &Path, files: Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let packed = out.join("packed");
    if packed.exists() {
        fs::remove_dir_all(&packed)?;
    }
    fs::create_dir_all(&packed)?;
    let mut table = String::from("static FILES: &[File] = &[\n");
    for (number, (path, content)) in files.into_iter().enumerate() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&content)?;
        let target = packed.join(format!("{number}.gz"));
        fs::write(&target, encoder.finish()?)?;
        let etag = format!("\"{:08x}-{}\"", crc32fast::hash(&content), content.len());
        let mime = mime(&path);
        let _ = writeln!(table, "    File {{ path: {path:?}, mime: {mime:?}, etag: {etag:?}, gzip: include_bytes!({target:?}) }},");
    }
    table.push_str("];\n");
    fs::write(out.join("page.rs"), table)
}

fn mime(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "json" | "map" => "application/json",
        _ => "application/octet-stream",
    }
}
