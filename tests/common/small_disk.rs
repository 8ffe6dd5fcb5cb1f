//! A disk that is soon full: a tmpfs, which takes root.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A tmpfs of a few MiB at most, unmounted when dropped.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn mount() -> Result<SmallDisk, String> {
        SmallDisk::mount_of("1m")
    }

    pub fn mount_of(size: &str) -> Result<SmallDisk, String> {
        let dir = TempDir::new().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Ok(SmallDisk(dir)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(format!("mount: {error}")),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the node may still be about to end.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
