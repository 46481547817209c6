//! Files by which a host starts a domain when it boots (`/etc/xen/auto`, read by Xen's `xendomains`): left behind by a domain that has moved, they start a second
//! one.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use domain::config_file::{self, MAX_FILE};

/// Where xendomains looks unless it is told otherwise.
pub(crate) const DIRECTORY: &str = "/etc/xen/auto";

/// The files in `directory` that start the domain of this name. One that can't be read as a configuration counts if it has the domain's name itself.
pub(crate) fn files(directory: &Path, domain: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && starts(path, domain))
        .collect();
    files.sort_unstable();
    files
}

fn starts(path: &Path, domain: &str) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE as u64).read_to_end(&mut bytes));
    match read.ok().and_then(|_| config_file::name(&bytes)) {
        Some(name) => name == domain,
        None => path.file_stem().is_some_and(|stem| stem == domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_start_a_domain() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("10-web", "name = 'web'\nmemory = 64\ndm_restrict = 1\n");
        write("other.cfg", "name = 'other'\nmemory = 64\nkernel = '/k'\n");
        write("web.cfg", "if True:\n  name = 'web'\n");
        fs::create_dir(directory.path().join("web")).unwrap();
        let found = files(directory.path(), "web");
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["10-web", "web.cfg"]);
        assert!(files(&directory.path().join("none"), "web").is_empty());
    }
}
