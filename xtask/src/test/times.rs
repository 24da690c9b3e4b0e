//! How long each step of `cargo xtask test` took when it last passed with all of its tests: a file below target/.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::step::Step;

/// A JSON object: from a step's name to seconds.
const FILE: &str = "xtask/step-times.json";

#[derive(Debug)]
pub(super) struct Times {
    file: PathBuf,
    seconds: BTreeMap<String, f64>,
}

impl Times {
    /// From a target folder. A file that is missing or damaged is one without times.
    pub(super) fn read(target: &Path) -> Self {
        let file = target.join(FILE);
        let text = fs::read(&file).unwrap_or_default();
        Self {
            seconds: serde_json::from_slice(&text).unwrap_or_default(),
            file,
        }
    }

    pub(super) fn of(&self, step: Step) -> Option<Duration> {
        let seconds = self.seconds.get(step.name())?;
        Duration::try_from_secs_f64(*seconds).ok()
    }

    /// Writes the file at once, so that a run that is interrupted later has recorded the step.
    pub(super) fn record(&mut self, step: Step, time: Duration) -> Result<()> {
        self.seconds
            .insert(step.name().to_owned(), time.as_secs_f64());
        let folder = self.file.parent().context("the file is in a folder")?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&self.file, serde_json::to_vec(&self.seconds)?))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// A time for people: `4.2 s`, `3 min 07 s`.
pub(super) fn readable(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = time.as_secs();
    format!("{} min {:02} s", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_known_to_the_next_run() {
        let folder = std::env::temp_dir().join(format!("socklb-times-{}", std::process::id()));
        let mut times = Times::read(&folder);
        assert_eq!(times.of(Step::Fmt), None);
        times
            .record(Step::Fmt, Duration::from_millis(1500))
            .expect("the folder is writable");
        let next = Times::read(&folder);
        fs::write(folder.join(FILE), "{\"fmt\": -1").expect("the folder is writable");
        let damaged = Times::read(&folder);
        fs::remove_dir_all(&folder).expect("it is ours");
        assert_eq!(next.of(Step::Fmt), Some(Duration::from_millis(1500)));
        assert_eq!(next.of(Step::Tidy), None);
        assert_eq!(damaged.of(Step::Fmt), None);
    }

    #[test]
    fn minutes_are_shown_from_the_first_on() {
        assert_eq!(readable(Duration::from_millis(4200)), "4.2 s");
        assert_eq!(readable(Duration::from_secs(187)), "3 min 07 s");
    }
}
