//! What depends on files: the domains of every reachable connection, and every image beside the ones that they name.
//! Files are identified by inode and not by path, each header is read once, and anything that cannot be read is a
//! doubt, which keeps every file.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::hypervisor::{Disk, DiskFile, Domain, Image, SnapshotKind};
use crate::tree::files::file_id::{FileId, FileSet};
use crate::tree::files::made::is_ram;
use crate::tree::kept::files::{kept_files, kept_images};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;

/// Something that depends on a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dependent {
    /// The machine in question, with its snapshots and everything kept for it.
    Itself(PathBuf),
    Domain {
        name: String,
        /// The URI of a connection other than the one in use.
        connection: Option<String>,
    },
    /// An image that no domain names.
    Image(PathBuf),
}

impl fmt::Display for Dependent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Itself(file) | Self::Image(file) => write!(f, "`{}`", file.display()),
            Self::Domain { name, connection: None } => write!(f, "domain `{name}`"),
            Self::Domain { name, connection: Some(connection) } => write!(f, "domain `{name}` of `{connection}`"),
        }
    }
}

/// Something that could depend on any file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    Image(PathBuf),
    Domain(String),
    Connection(String, String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(file) => write!(f, "`{}`, which cannot be read,", file.display()),
            Self::Domain(name) => write!(f, "domain `{name}`, which cannot be read,"),
            Self::Connection(uri, why) => write!(f, "a domain of `{uri}`, which does not tell ({why}),"),
        }
    }
}

/// Where to look.
#[derive(Default)]
pub struct Search<'a> {
    /// The machine whose own dependence is reported separately; it comes first.
    pub machine: Option<&'a Machine>,
    /// Domains to ignore.
    pub without: &'a [String],
    /// Files whose own dependence counts only if they stay.
    pub candidates: &'a [PathBuf],
    /// Whether to check only what may have changed within a moment: no snapshots and no other connections.
    pub is_second_look: bool,
}

struct Root {
    file: PathBuf,
    dependent: Dependent,
}

/// The dependents of each file.
#[derive(Default)]
pub struct Used {
    by: HashMap<FileId, Dependent>,
    /// Chains already followed, by the file and the directory in which it was named.
    followed: HashSet<(FileId, Option<PathBuf>)>,
}

impl Used {
    pub fn by(&self, file: &Path) -> Option<&Dependent> {
        self.by.get(&FileId::of(file))
    }
}

/// Everything that depends on something.
pub struct Dependents<'a> {
    engine: &'a Engine,
    roots: Vec<Root>,
    /// The files directly below an image, by the image and the directory in which it is named: relative names start
    /// there.
    below: HashMap<(FileId, FileId), Option<Vec<PathBuf>>>,
    /// Files that are used as raw disks, without a header.
    raw: HashSet<FileId>,
    formatted: HashSet<FileId>,
    doubts: Vec<Doubt>,
}

/// Finds what depends on files.
pub fn dependents<'e>(engine: &'e Engine, search: &Search) -> Result<Dependents<'e>> {
    let mut found = Dependents {
        engine,
        roots: Vec::new(),
        below: HashMap::new(),
        raw: HashSet::new(),
        formatted: HashSet::new(),
        doubts: Vec::new(),
    };
    let mut directories: Vec<PathBuf> = search.candidates.iter().filter_map(|file| directory_of(file)).collect();
    if let Some(machine) = search.machine {
        found.add_machine(machine, &mut directories)?;
    }
    for domain in engine.hypervisor.domains()? {
        let is_itself = search.machine.is_some_and(|machine| machine.name.as_str() == domain.name);
        if is_itself || search.without.contains(&domain.name) {
            continue;
        }
        if found.add_domain(&domain.name, !search.is_second_look, &mut directories).is_err() {
            // A transient domain may have ended meanwhile.
            match engine.hypervisor.domain(&domain.name) {
                Ok(None) => {}
                _ => found.doubts.push(Doubt::Domain(domain.name)),
            }
        }
    }
    if !search.is_second_look {
        found.add_neighbours();
    }
    found.add_images(&directories, search.candidates);
    Ok(found)
}

/// Names another domain of this connection that writes to one of these files, now or from its next start on.
pub fn written_by_another(engine: &Engine, machine: &Machine, files: &[PathBuf]) -> Result<Option<(PathBuf, Domain)>> {
    let wanted = FileSet::from_iter(files);
    for domain in engine.hypervisor.domains()?.into_iter().filter(|domain| domain.name != machine.name.as_str()) {
        // A domain that has ended meanwhile no longer writes.
        let images = engine.hypervisor.disk_images(&domain.name).unwrap_or_default();
        if !images.iter().any(|image| wanted.contains(&image.file)) {
            continue;
        }
        let Some(details) = engine.hypervisor.domain(&domain.name)? else { continue };
        let disks = details.disks.iter().chain(&details.next_disks);
        let mut written = disks.filter(|disk| disk.is_written() && !disk.is_transient).filter_map(Disk::file);
        if let Some(file) = written.find(|file| wanted.contains(file)) {
            return Ok(Some((file.to_path_buf(), details.domain.clone())));
        }
    }
    Ok(None)
}

/// Returns a dependent of one of these files: a snapshot, or another image.
pub fn first_dependent(engine: &Engine, machine: &Machine, files: &[PathBuf]) -> Result<Option<String>> {
    let wanted = FileSet::from_iter(files);
    let is_layer = |layers: Vec<DiskFile>| layers.iter().any(|layer| wanted.contains(&layer.file));
    let external = machine.nodes.iter().filter(|node| node.snapshot.kind() == SnapshotKind::External);
    if let Some(node) = external.into_iter().find(|node| is_layer(node.snapshot.layers())) {
        return Ok(Some(format!("snapshot `{}`", node.name())));
    }
    let search = Search { machine: Some(machine), without: &[], candidates: &[], is_second_look: false };
    let mut found = dependents(engine, &search)?;
    found.add_images(&files.iter().filter_map(|file| directory_of(file)).collect::<Vec<_>>(), files);
    let above = found.above(&wanted).map(|dependent| dependent.to_string());
    Ok(above.or_else(|| found.doubts.first().map(|doubt| format!("perhaps {doubt}"))))
}

impl Dependents<'_> {
    fn add(&mut self, file: PathBuf, dependent: Dependent) {
        self.roots.push(Root { file, dependent });
    }

    /// Notes the format of a named image, and its directory.
    fn add_image(&mut self, image: Image, dependent: Dependent, directories: &mut Vec<PathBuf>) {
        let id = FileId::of(&image.file);
        if image.format == "raw" {
            self.raw.insert(id)
        } else {
            self.formatted.insert(id)
        };
        directories.extend(directory_of(&image.file));
        self.add(image.file, dependent);
    }

    fn add_machine(&mut self, machine: &Machine, directories: &mut Vec<PathBuf>) -> Result<()> {
        let hypervisor = &self.engine.hypervisor;
        let name = machine.name.as_str();
        let mut images = hypervisor.disk_images(name)?;
        let layers = machine.nodes.iter().flat_map(|node| node.snapshot.layers());
        images.extend(layers.map(|layer| layer.image()).chain(kept_images(&machine.directory)));
        let mut files = hypervisor.files_named_in(&machine.details.document)?;
        if machine.is_active() {
            files.extend(hypervisor.files_named_in(&hypervisor.live_document(name)?)?);
        }
        let memories = machine.nodes.iter().flat_map(|node| node.snapshot.memory_files()).map(Path::to_path_buf);
        files.extend(memories.chain(kept_files(&machine.directory)));
        for image in images {
            let dependent = Dependent::Itself(image.file.clone());
            self.add_image(image, dependent, directories);
        }
        files.into_iter().for_each(|file| self.add(file.clone(), Dependent::Itself(file)));
        Ok(())
    }

    fn add_domain(&mut self, name: &str, with_snapshots: bool, directories: &mut Vec<PathBuf>) -> Result<()> {
        let hypervisor = &self.engine.hypervisor;
        let dependent = Dependent::Domain { name: name.to_string(), connection: None };
        let mut images = hypervisor.disk_images(name)?;
        let mut documents = vec![hypervisor.live_document(name)?];
        documents.extend(hypervisor.domain(name)?.map(|details| details.document));
        let mut files: Vec<PathBuf> = Vec::new();
        if with_snapshots {
            for snapshot in hypervisor.snapshots(name)? {
                images.extend(snapshot.images());
                files.extend(snapshot.memory_files().map(Path::to_path_buf));
                documents.push(snapshot.document);
            }
        }
        for document in &documents {
            files.extend(hypervisor.files_named_in(document)?);
        }
        images.into_iter().for_each(|image| self.add_image(image, dependent.clone(), directories));
        files.into_iter().for_each(|file| self.add(file, dependent.clone()));
        Ok(())
    }

    fn add_neighbours(&mut self) {
        let neighbours = self.engine.hypervisor.neighbours();
        for domain in neighbours.domains {
            let dependent = Dependent::Domain { name: domain.domain, connection: Some(domain.connection) };
            domain.files.into_iter().for_each(|file| self.add(file, dependent.clone()));
        }
        self.doubts.extend(neighbours.silent.into_iter().map(|(uri, why)| Doubt::Connection(uri, why)));
    }

    /// Leaves out images that were found beside others and that are to be removed themselves.
    pub fn leave_out(&mut self, files: &[PathBuf]) {
        let files = FileSet::from_iter(files);
        self.roots.retain(|root| !(matches!(root.dependent, Dependent::Image(_)) && files.contains(&root.file)));
    }

    /// Adds every image in these directories that depends on another file.
    fn add_images(&mut self, directories: &[PathBuf], except: &[PathBuf]) {
        let except = FileSet::from_iter(except);
        let mut seen = FileSet::default();
        for directory in directories.iter().filter(|directory| seen.insert(directory)) {
            for file in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
                let is_image = fs::metadata(&file).is_ok_and(|metadata| metadata.is_file());
                if is_image && !except.contains(&file) && self.below(&file).is_none_or(|below| !below.is_empty()) {
                    self.add(file.clone(), Dependent::Image(file));
                }
            }
        }
    }

    /// Lists the files directly below an image; none if they cannot be determined.
    fn below(&mut self, file: &Path) -> Option<Vec<PathBuf>> {
        let id = FileId::of(file);
        if matches!(id, FileId::Absent(_)) || (self.raw.contains(&id) && !self.formatted.contains(&id)) {
            return Some(Vec::new());
        }
        let key = (id, FileId::of(file.parent().unwrap_or(file)));
        let hypervisor = &self.engine.hypervisor;
        // A guest's RAM may begin like an image.
        let read = || hypervisor.depends_on(file).ok().or_else(|| is_ram(file).then(Vec::new));
        self.below.entry(key).or_insert_with(read).clone()
    }

    /// Records a dependent of each file. The first one counts.
    pub fn used(&mut self) -> Used {
        let mut used = Used::default();
        for Root { file, dependent } in std::mem::take(&mut self.roots) {
            self.spread(&mut used, file, dependent);
        }
        used
    }

    /// Notes a dependent of a file and of its whole backing chain.
    pub fn spread(&mut self, used: &mut Used, file: PathBuf, dependent: Dependent) {
        let mut next = VecDeque::from([file]);
        while let Some(file) = next.pop_front() {
            let id = FileId::of(&file);
            used.by.entry(id.clone()).or_insert_with(|| dependent.clone());
            if !used.followed.insert((id, file.parent().map(Path::to_path_buf))) {
                continue;
            }
            match self.below(&file) {
                Some(below) => next.extend(below),
                None => self.doubts.push(Doubt::Image(file)),
            }
        }
    }

    /// Finds something that depends on one of these files and is none of them itself.
    fn above(&mut self, wanted: &FileSet) -> Option<Dependent> {
        let mut seen = HashSet::new();
        for Root { file, dependent } in std::mem::take(&mut self.roots) {
            let mut next = VecDeque::from([file]);
            while let Some(file) = next.pop_front() {
                if !seen.insert(file.clone()) {
                    continue;
                }
                match self.below(&file) {
                    Some(below) if below.iter().any(|below| wanted.contains(below)) => return Some(dependent),
                    Some(below) => next.extend(below),
                    None => self.doubts.push(Doubt::Image(file)),
                }
            }
        }
        None
    }

    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// Lists the files below `file`, nearest first, as far as they can be determined.
    pub fn all_below(&mut self, file: &Path) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        let mut next = VecDeque::from([file.to_path_buf()]);
        while let Some(file) = next.pop_front() {
            for below in self.below(&file).unwrap_or_default() {
                if !found.contains(&below) {
                    found.push(below.clone());
                    next.push_back(below);
                }
            }
        }
        found
    }
}

fn directory_of(file: &Path) -> Option<PathBuf> {
    file.parent()
        .map(|directory| if directory.as_os_str().is_empty() { Path::new(".") } else { directory }.to_path_buf())
}
