//! A wall clock that a test can move, for whole processes: libfaketime in front of the real one.
//! The monotonic clock stays real.

use super::complete::needed;

/// The clock of the processes that are started with its [`Clock::env`].
pub struct Clock {
    library: String,
    file: tempfile::NamedTempFile,
}

impl Clock {
    /// Right, for now; `None` where libfaketime is not installed.
    pub fn new() -> Option<Self> {
        let clock = Self {
            library: library()?,
            file: tempfile::NamedTempFile::new().unwrap(),
        };
        clock.jump(0);
        Some(clock)
    }

    pub fn env(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            (
                "FAKETIME_TIMESTAMP_FILE",
                self.file.path().to_str().unwrap(),
            ),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// Puts the clock so many seconds off the real one.
    pub fn jump(&self, secs: i64) {
        // Written beside and moved over, so that nobody reads half of it.
        let beside = self.file.path().with_extension("new");
        std::fs::write(&beside, format!("{secs:+}\n")).unwrap();
        std::fs::rename(&beside, self.file.path()).unwrap();
    }
}

/// Where Debian's package `libfaketime` puts it.
fn library() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut found = folders.filter_map(|folder| {
        let path = folder.ok()?.path().join("faketime/libfaketime.so.1");
        path.exists().then(|| path.to_str().unwrap().to_owned())
    });
    let missing = "no libfaketime: install the Debian package `libfaketime`";
    needed(found.next(), missing)
}
