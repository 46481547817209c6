//! Streams that real xends sent, and what lies beside them. Test programs that share this file need parts of it only.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A stream: an envelope and an image.
pub struct Capture {
    pub name: String,
    path: PathBuf,
    stream: Vec<u8>,
}

impl Capture {
    /// The captures below `RELOCD_CAPTURES`; without it, or without a program that unpacks them, the test is skipped, and says so.
    pub fn all(test: &str) -> Option<impl Iterator<Item = Capture>> {
        let Some(directory) = std::env::var_os("RELOCD_CAPTURES") else {
            eprintln!("SKIPPED: {test}: RELOCD_CAPTURES does not say where streams of real xends are");
            return None;
        };
        if Command::new("zstd")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            eprintln!("SKIPPED: {test}: there is no zstd to unpack streams of real xends");
            return None;
        }
        let mut paths: Vec<PathBuf> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(".xend.zst"))
            .collect();
        paths.sort();
        assert!(
            !paths.is_empty(),
            "RELOCD_CAPTURES names a directory without any *.xend.zst"
        );
        Some(paths.into_iter().map(|path| {
            let output = Command::new("zstd").arg("-dcq").arg(&path).output().unwrap();
            assert!(output.status.success(), "{}", path.display());
            let name = path.file_name().unwrap().to_string_lossy().replace(".xend.zst", "");
            Capture {
                name,
                path,
                stream: output.stdout,
            }
        }))
    }

    /// All of it.
    pub fn stream(&self) -> &[u8] {
        &self.stream
    }

    /// The text of the file beside it whose name ends in this: `layout`, what a first reading found; `sxp`, its configuration.
    pub fn beside(&self, extension: &str) -> String {
        fs::read_to_string(self.path.with_file_name(format!("{}.{extension}", self.name))).unwrap()
    }

    /// The configuration in the envelope.
    pub fn config(&self) -> &[u8] {
        let length = u32::from_be_bytes(self.stream[16..20].try_into().unwrap());
        &self.stream[20..20 + length as usize]
    }

    /// The image: behind a signature of 16 bytes and a config, whose length is big-endian.
    pub fn image(&self) -> &[u8] {
        assert_eq!(&self.stream[..16], b"LinuxGuestRecord", "{}", self.name);
        let length = u32::from_be_bytes(self.stream[16..20].try_into().unwrap());
        &self.stream[20 + length as usize..]
    }
}
