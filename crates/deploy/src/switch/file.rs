//! A file that a balancer reads: replaced as a whole, under its fence, and taken back when
//! the balancer refuses it.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::SwitchAccess;
use super::reach::{Failure, Reach};
use crate::{EnvironmentKey, TargetError};

const SCRIPT: &str = include_str!("file.sh");
/// One call, in which the balancer tests and reads what it gets.
const CALL: Duration = Duration::from_secs(40);
/// How often a change is made anew when another process was faster.
const TRIES: u32 = 5;
/// What the script ends with.
const FENCED: i32 = 20;
const REFUSED: i32 = 22;
const CHANGED: i32 = 24;

pub(super) struct BalancerFile {
    /// Of the balancer.
    part: &'static str,
    pub(super) path: String,
    /// Commands; empty ones are not run.
    test: String,
    reload: String,
    reach: Reach,
    /// Ops on several units are one after another here.
    changing: tokio::sync::Mutex<()>,
}

/// The first line of such a file: whose it is, and under which fence it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Title {
    /// `PROJECT/ENVIRONMENT`.
    pub(super) environment: String,
    pub(super) fence: u64,
}

impl Title {
    pub(super) fn of(key: &EnvironmentKey, fence: u64) -> Self {
        Self { environment: name_of(key), fence }
    }

    /// Reads it off a text, which has none where nobody of ours wrote it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let words = text.lines().next()?.strip_prefix("# shipline ")?;
        let word = |name: &str| {
            words.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let environment = word("environment")?.to_owned();
        Some(Self { environment, fence: word("fence")?.parse().ok()? })
    }

    pub(super) fn line(&self) -> String {
        format!("# shipline environment={} fence={}\n", self.environment, self.fence)
    }

    /// Refuses the file of another environment.
    pub(super) fn is_of(&self, key: &EnvironmentKey, path: &str) -> Result<(), TargetError> {
        if self.environment == name_of(key) {
            return Ok(());
        }
        let message = format!("{path} is of environment `{}`: give each a file", self.environment);
        Err(TargetError::Refused { message })
    }
}

fn name_of(key: &EnvironmentKey) -> String {
    format!("{}/{}", key.project, key.environment)
}

impl BalancerFile {
    pub(super) fn new(
        part: &'static str,
        path: &str,
        commands: [&str; 2],
        ssh: Option<&str>,
        access: &SwitchAccess,
    ) -> Self {
        let [test, reload] = commands.map(str::to_owned);
        let (path, reach) = (path.to_owned(), Reach::new(ssh, access));
        Self { part, path, test, reload, reach, changing: tokio::sync::Mutex::new(()) }
    }

    /// Returns what it says; `None` where it is not there.
    pub(super) async fn read(&self) -> Result<Option<String>, TargetError> {
        let said = self.run(&["read", &self.path], Vec::new()).await?;
        Ok(said.strip_prefix("there\n").map(str::to_owned))
    }

    /// Asks the balancer about its configuration as it is.
    pub(super) async fn test(&self) -> Result<(), TargetError> {
        self.run(&["test", &self.path, &self.test], Vec::new()).await.map(drop)
    }

    /// Replaces what it says by what `change` makes of that. One that is the same is
    /// written as well, since the balancer may not have read it yet.
    pub(super) async fn change(
        &self,
        fence: u64,
        change: impl Fn(Option<&str>) -> Result<String, TargetError> + Send + Sync,
    ) -> Result<(), TargetError> {
        let _alone = self.changing.lock().await;
        let mut tries = 0;
        loop {
            tries += 1;
            let former = self.read().await?;
            let text = change(former.as_deref())?;
            let sum = former.map_or_else(
                || "none".to_owned(),
                |former| hex::encode(Sha256::digest(former.as_bytes())),
            );
            let fence = fence.to_string();
            let arguments = ["write", &self.path, &fence, &sum, &self.test, &self.reload];
            match self.written(&arguments, text.into_bytes()).await? {
                true => return Ok(()),
                false if tries < TRIES => {}
                false => {
                    let cause = format!("{} changes again and again", self.path);
                    return Err(super::broken(self.part, cause, "find out who writes it"));
                }
            }
        }
    }

    pub(super) async fn remove(&self) -> Result<(), TargetError> {
        self.run(&["remove", &self.path], Vec::new()).await.map(drop)
    }

    async fn run(&self, arguments: &[&str], input: Vec<u8>) -> Result<String, TargetError> {
        let said = self.reach.run(SCRIPT, arguments, input, CALL).await;
        let said = said.map_err(|failure| self.failed(&failure))?;
        match said.code {
            0 => Ok(said.out),
            code => Err(self.meaning(code, said.err.trim())),
        }
    }

    /// Whether it was written; somebody else may have been faster.
    async fn written(&self, arguments: &[&str], text: Vec<u8>) -> Result<bool, TargetError> {
        let said = self.reach.run(SCRIPT, arguments, text, CALL).await;
        let said = said.map_err(|failure| self.failed(&failure))?;
        match said.code {
            0 => Ok(true),
            CHANGED => Ok(false),
            code => Err(self.meaning(code, said.err.trim())),
        }
    }

    fn failed(&self, failure: &Failure) -> TargetError {
        super::broken(self.part, &failure.cause, &failure.fix)
    }

    fn meaning(&self, code: i32, said: &str) -> TargetError {
        let said = if said.is_empty() { "it said nothing" } else { said };
        match code {
            FENCED => TargetError::Fenced(said.to_owned()),
            REFUSED => {
                let fix = "mend its configuration; what it had before is in force";
                super::broken(self.part, said, fix)
            }
            _ => super::broken(self.part, said, "look at that machine"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EnvironmentKey {
        EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
    }

    fn file(folder: &tempfile::TempDir, test: &str, reload: &str) -> BalancerFile {
        let spec =
            pipeline::SwitchSpec::Traefik(pipeline::TraefikSpec { file: String::new(), ssh: None });
        let access = SwitchAccess { spec, identity: None, known_hosts: None };
        let path = folder.path().join("web.conf").display().to_string();
        BalancerFile::new("nginx", &path, [test, reload], None, &access)
    }

    fn says(text: &str, fence: u64) -> impl Fn(Option<&str>) -> Result<String, TargetError> {
        let text = format!("{}{text}\n", Title::of(&key(), fence).line());
        move |_| Ok(text.clone())
    }

    #[test]
    fn a_title_says_whose_a_file_is() {
        let title = Title::of(&key(), 41);
        assert_eq!(title.line(), "# shipline environment=web/prod fence=41\n");
        assert_eq!(Title::read(&format!("{}more\n", title.line())), Some(title.clone()));
        assert_eq!(Title::read("server a;\n"), None);
        let other = EnvironmentKey { environment: "test".to_owned(), ..key() };
        assert!(title.is_of(&key(), "f").is_ok() && title.is_of(&other, "f").is_err());
    }

    #[tokio::test]
    async fn what_is_refused_is_taken_back_and_a_smaller_fence_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("reloads").display().to_string();
        let test = format!("! grep -q bad {}/web.conf", folder.path().display());
        let file = file(&folder, &test, &format!("echo x >> {count}"));
        assert_eq!(file.read().await.unwrap(), None);
        file.change(5, says("good", 5)).await.unwrap();
        // The same again is no reload.
        file.change(5, says("good", 5)).await.unwrap();
        let good = file.read().await.unwrap().unwrap();
        assert!(good.ends_with("good\n"), "{good}");
        let refused = file.change(6, says("bad", 6)).await.unwrap_err().to_string();
        assert!(refused.contains("ended with 1") && refused.contains("is in force"), "{refused}");
        assert_eq!(file.read().await.unwrap().unwrap(), good);
        let old = file.change(4, says("old", 4)).await.unwrap_err();
        assert!(matches!(old, TargetError::Fenced(_)), "{old}");
        assert_eq!(file.read().await.unwrap().unwrap(), good);
        assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
    }

    #[tokio::test]
    async fn a_change_that_nobody_loaded_is_loaded_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("reloads").display().to_string();
        let file = file(&folder, "", &format!("echo x >> {count}"));
        file.change(5, says("one", 5)).await.unwrap();
        // Somebody died before the balancer was told.
        std::fs::remove_file(folder.path().join(".web.conf.loaded")).unwrap();
        file.change(5, says("one", 5)).await.unwrap();
        assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\nx\n");
        // Or before it had said whether it takes it.
        let path = folder.path().join("web.conf");
        std::fs::rename(&path, folder.path().join(".web.conf.former")).unwrap();
        std::fs::write(&path, "half").unwrap();
        file.change(6, says("two", 6)).await.unwrap();
        assert!(file.read().await.unwrap().unwrap().ends_with("two\n"));
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = file(&folder, "", "");
        file.path = "/nonexistent/web.conf".to_owned();
        let error = file.read().await.unwrap_err().to_string();
        assert!(error.contains("there is no folder /nonexistent"), "{error}");
    }
}
