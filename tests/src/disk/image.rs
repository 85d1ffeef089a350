//! A disk in memory that is told what a program did, and what it may hold if power is cut now.
//!
//! Pure but for [`Disk::read`] and [`Disk::write`], which move it from and to a real folder.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};

use super::log::Op;

/// Bytes that a disk writes as one.
const BLOCK_BYTES: usize = 4096;
/// Bytes that a cheap disk writes as one.
const SECTOR_BYTES: usize = 512;

/// What is left of that which was not synced.
pub enum Survives {
    /// Nothing.
    Nothing,
    /// All of it: the program was killed, the power was not cut.
    Everything,
    /// Whatever chance says.
    Some(fastrand::Rng),
}

/// A folder tree: what of it is durable and what is on its way.
#[derive(Clone)]
pub struct Disk {
    nodes: Vec<Node>,
    by_inode: HashMap<u64, usize>,
}

#[derive(Clone)]
enum Node {
    File { durable: Vec<u8>, pending: Vec<Change> },
    Folder { durable: Names, live: Names, pending: Vec<Naming> },
}

type Names = BTreeMap<String, usize>;

#[derive(Clone)]
enum Change {
    Write {
        at: usize,
        data: Rc<[u8]>,
    },
    Truncate(usize),
    /// Within one block. The system tried to write it, failed, and will not try again: it is read back as if all were well, until it is
    /// forgotten, or until the block is written anew.
    Lost {
        at: usize,
        data: Rc<[u8]>,
    },
}

#[derive(Clone)]
enum Naming {
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

/// The root is always the first node.
const ROOT: usize = 0;

impl Disk {
    /// A durable copy of a folder.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut disk = Self { nodes: Vec::new(), by_inode: HashMap::new() };
        disk.read_node(folder)?;
        Ok(disk)
    }

    fn read_node(&mut self, path: &Path) -> Result<usize> {
        use std::os::unix::fs::MetadataExt;
        let meta = path.metadata().with_context(|| path.display().to_string())?;
        if meta.is_file() {
            return Ok(self.add(meta.ino(), Node::File { durable: std::fs::read(path)?, pending: Vec::new() }));
        }
        let node = self.add(meta.ino(), Node::Folder { durable: Names::new(), live: Names::new(), pending: Vec::new() });
        let mut names = Names::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            names.insert(entry.file_name().to_string_lossy().into_owned(), self.read_node(&entry.path())?);
        }
        self.set(node, Node::Folder { durable: names.clone(), live: names, pending: Vec::new() });
        Ok(node)
    }

    fn add(&mut self, inode: u64, node: Node) -> usize {
        self.nodes.push(node);
        self.by_inode.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn set(&mut self, index: usize, node: Node) {
        if let Some(place) = self.nodes.get_mut(index) {
            *place = node;
        }
    }

    /// Takes in what the program did next.
    ///
    /// # Errors
    /// It cannot be: the log is not complete.
    pub fn apply(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Create { inode, path } => {
                let node = self.add(*inode, Node::File { durable: Vec::new(), pending: Vec::new() });
                self.name(path, Naming::Add(last(path), node))
            }
            Op::Folder { inode, path } => {
                let node = self.add(*inode, Node::Folder { durable: Names::new(), live: Names::new(), pending: Vec::new() });
                self.name(path, Naming::Add(last(path), node))
            }
            Op::Write { inode, at, data } => self.change(*inode, Change::Write { at: *at, data: Rc::clone(data) }),
            Op::Truncate { inode, len } => self.change(*inode, Change::Truncate(*len)),
            Op::Remove { path } => self.name(path, Naming::Remove(last(path))),
            Op::Rename { from, to } if parent(from) == parent(to) => self.name(from, Naming::Rename(last(from), last(to))),
            Op::Rename { from, to } => {
                let node = self.find(from)?;
                self.name(to, Naming::Add(last(to), node))?;
                self.name(from, Naming::Remove(last(from)))
            }
            Op::Sync { inode } => self.sync(*inode),
            Op::SyncFailed { inode } => {
                if let Some(Node::File { pending, .. }) = self.by_inode.get(inode).and_then(|node| self.nodes.get_mut(*node)) {
                    *pending = pending.drain(..).flat_map(Change::lost).collect();
                }
                Ok(())
            }
            Op::Range | Op::Mark(_) => Ok(()),
        }
    }

    fn change(&mut self, inode: u64, change: Change) -> Result<()> {
        match self.by_inode.get(&inode).and_then(|node| self.nodes.get_mut(*node)) {
            Some(Node::File { pending, .. }) => pending.push(change),
            _ => bail!("inode {inode} was written and is no known file"),
        }
        Ok(())
    }

    fn name(&mut self, path: &str, naming: Naming) -> Result<()> {
        let folder = self.find(parent(path))?;
        let Some(Node::Folder { live, pending, .. }) = self.nodes.get_mut(folder) else { bail!("{path} is in no folder") };
        ensure!(naming.apply(live), "{path} was renamed or removed and is not there");
        pending.push(naming);
        Ok(())
    }

    fn sync(&mut self, inode: u64) -> Result<()> {
        match self.by_inode.get(&inode).and_then(|node| self.nodes.get_mut(*node)) {
            Some(Node::File { durable, pending }) => {
                let dirty: HashSet<usize> = pending.iter().flat_map(Change::dirty_blocks).collect();
                pending.retain(|change| match change {
                    Change::Lost { at, .. } if !dirty.contains(&(at / BLOCK_BYTES)) => true,
                    other => {
                        other.apply(durable);
                        false
                    }
                });
            }
            Some(Node::Folder { durable, live, pending }) => {
                pending.clear();
                durable.clone_from(live);
            }
            None => bail!("inode {inode} was synced and is not known"),
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Result<usize> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |node, name| match self.nodes.get(node) {
            Some(Node::Folder { live, .. }) => live.get(name).copied().with_context(|| format!("{path} is not known")),
            _ => bail!("{path} is below a file"),
        })
    }

    /// Writes what is left after a power cut into an empty folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, survives: &mut Survives, folder: &Path) -> Result<()> {
        self.write_node(ROOT, survives, folder)
    }

    fn write_node(&self, node: usize, survives: &mut Survives, path: &Path) -> Result<()> {
        match self.nodes.get(node) {
            Some(Node::File { durable, pending }) => {
                let mut content = durable.clone();
                survives.content(&mut content, pending);
                std::fs::write(path, content).with_context(|| path.display().to_string())
            }
            Some(Node::Folder { durable, pending, .. }) => {
                std::fs::create_dir_all(path)?;
                let mut names = durable.clone();
                let kept = survives.how_many(pending.len());
                for naming in pending.iter().take(kept) {
                    naming.apply(&mut names);
                }
                names.iter().try_for_each(|(name, node)| self.write_node(*node, survives, &path.join(name)))
            }
            None => bail!("BUG: no node {node}"),
        }
    }
}

impl Naming {
    /// Whether it could be done.
    fn apply(&self, names: &mut Names) -> bool {
        match self {
            Self::Add(name, node) => {
                names.insert(name.clone(), *node);
                true
            }
            Self::Remove(name) => names.remove(name).is_some(),
            Self::Rename(from, to) => names.remove(from).map(|node| names.insert(to.clone(), node)).is_some(),
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } | Self::Lost { at, data } => put(content, *at, data),
            Self::Truncate(len) => content.resize(*len, 0),
        }
    }

    /// What becomes of it when a sync fails. A length is the journal's: it is tried again.
    fn lost(self) -> Vec<Self> {
        let Self::Write { at, data } = self else { return vec![self] };
        let part = |(_, from, to): (usize, usize, usize)| data.get(from - at..to - at).unwrap_or_default().into();
        blocks(at, at + data.len(), BLOCK_BYTES).map(|block| Self::Lost { at: block.1, data: part(block) }).collect()
    }

    fn dirty_blocks(&self) -> Vec<usize> {
        let Self::Write { at, data } = self else { return Vec::new() };
        blocks(*at, at + data.len(), BLOCK_BYTES).map(|(block, ..)| block).collect()
    }
}

impl Survives {
    fn how_many(&mut self, all: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => all,
            Self::Some(rng) => rng.usize(0..=all),
        }
    }

    /// Each block of a file is in one of the states that it went through; changes of the length happened up to some moment.
    fn content(&mut self, content: &mut Vec<u8>, pending: &[Change]) {
        let rng = match self {
            Self::Nothing => return,
            Self::Everything => return pending.iter().for_each(|change| change.apply(content)),
            Self::Some(rng) => rng,
        };
        let truncates = pending.iter().filter(|change| matches!(change, Change::Truncate(_))).count();
        let mut truncates_left = rng.usize(0..=truncates);
        let block_bytes = if rng.u8(..4) == 0 { SECTOR_BYTES } else { BLOCK_BYTES };
        // How likely the latest state of a block is: some disks had nearly finished, others hardly begun.
        let progress = rng.f64();
        let mut frozen: HashMap<usize, bool> = HashMap::new();
        for change in pending {
            match change {
                Change::Truncate(_) if truncates_left == 0 => return,
                Change::Truncate(len) => {
                    truncates_left -= 1;
                    content.resize(*len, 0);
                }
                Change::Write { at, data } | Change::Lost { at, data } => {
                    for (block, from, to) in blocks(*at, at + data.len(), block_bytes) {
                        let stays_old = frozen.entry(block).or_default();
                        *stays_old = *stays_old || rng.f64() > progress;
                        if !*stays_old {
                            put(content, from, data.get(from - at..to - at).unwrap_or_default());
                        }
                    }
                    // The length may come before the bytes.
                    if rng.u8(..8) == 0 && content.len() < at + data.len() {
                        content.resize(at + data.len(), 0);
                    }
                }
            }
        }
    }
}

/// The blocks that a range of bytes touches: number, and the part of the range in it.
fn blocks(from: usize, to: usize, block_bytes: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (from / block_bytes..to.div_ceil(block_bytes)).map(move |block| {
        let start = block * block_bytes;
        (block, from.max(start), to.min(start + block_bytes))
    })
}

fn put(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(at..end) {
        place.copy_from_slice(data);
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
