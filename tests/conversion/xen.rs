//! Xen's own converter and verifier.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The two programs, unpacked by `tests/xen-tools`.
pub struct XenTools {
    /// The directory that holds `bin` and `lib`.
    home: PathBuf,
}

impl XenTools {
    /// Where `RELOCD_XEN_TOOLS` says; without it the test is skipped, and says so.
    pub fn find(test: &str) -> Option<XenTools> {
        let Some(directory) = std::env::var_os("RELOCD_XEN_TOOLS") else {
            eprintln!("SKIPPED: {test}: RELOCD_XEN_TOOLS does not say where Xen's tools are (tests/xen-tools)");
            return None;
        };
        let library = Path::new(&directory).join("usr/lib");
        let entries = fs::read_dir(&library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        let home = entries
            .map(|entry| entry.unwrap().path())
            .find(|path| path.join("bin/convert-legacy-stream").exists())
            .unwrap_or_else(|| panic!("no convert-legacy-stream below {}", library.display()));
        Some(XenTools { home })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new("python3")
            .arg(self.home.join("bin").join(program))
            .args(arguments)
            .env("PYTHONPATH", self.home.join("lib/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("python3 runs")
    }

    /// Converts an image into a libxl stream.
    ///
    /// # Errors
    /// What the converter said as it failed.
    pub fn convert(&self, image: &Path, out: &Path, word: usize, pv: bool) -> Result<(), String> {
        let width = (word * 8).to_string();
        let guest = if pv { "pv" } else { "hvm" };
        let (image, out) = (image.to_str().unwrap(), out.to_str().unwrap());
        let output = self.run(
            "convert-legacy-stream",
            &["-i", image, "-o", out, "-w", &width, "-g", guest, "-f", "libxl"],
        );
        succeeded(output)
    }

    /// Verifies a libxl stream.
    ///
    /// # Errors
    /// What the verifier said against it.
    pub fn verify(&self, stream: &Path) -> Result<(), String> {
        succeeded(self.run("verify-stream-v2", &["-i", stream.to_str().unwrap(), "-f", "libxl"]))
    }
}

fn succeeded(output: Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
