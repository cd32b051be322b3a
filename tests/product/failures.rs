//! What goes wrong when a stage runs, in the form of what `check` finds: the code, the place,
//! an excerpt with the value at fault, the cause, and where there is more help.
//!
//! `tests/failures` has a pipeline in which nearly every stage fails, and what is said of
//! each. Run with `SHIPLINE_UPDATE_CASES=1` to write what came out, and read the difference.

use std::collections::BTreeMap;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, docker, repository_root};
use crate::harness::registry::{ImageRegistry, PASSWORD, USER};

/// What the summary of a run says of each stage that failed, without its last lines.
pub fn told(stdout: &str) -> BTreeMap<String, String> {
    let mut told = BTreeMap::<String, String>::new();
    let mut lines = stdout.lines().skip_while(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("last lines of ").unwrap_or(line);
        let name = name.split_once(" [").map_or(name, |(name, _)| name);
        let mut below = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("  ")) {
            // After the help come its last lines.
            if !below.contains("= help: ") {
                below.push_str(line.trim_end());
                below.push('\n');
            }
        }
        if below.contains("error[") {
            told.insert(name.to_owned(), below);
        }
    }
    told
}

/// An image that has no command, as `docker import` makes one of an archive without anything.
struct Silent(String);

impl Silent {
    fn make(lab: &Lab) -> Self {
        let name = lab.path().file_name().expect("a name").to_string_lossy().to_lowercase();
        let image = format!("{name}:1");
        let archive = lab.path().join("nothing.tar");
        std::fs::write(&archive, [0; 1024]).expect("written");
        docker(&["import", &archive.to_string_lossy(), &image]);
        Self(image)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        docker(&["rmi", &self.0]);
    }
}

#[test]
fn what_goes_wrong_in_a_run_has_code_place_excerpt_cause_and_help() {
    let folder = repository_root().join("tests/failures");
    let lab = Lab::new();
    // One that we have a login for, and one that wants one.
    let house = ImageRegistry::start(&lab.folder("house"));
    let stranger = ImageRegistry::start_plain(&lab.folder("stranger"));
    let silent = Silent::make(&lab);
    let config = lab.folder("config/shipline");
    std::fs::write(config.join("password"), PASSWORD).expect("written");
    std::fs::write(
        config.join("config.toml"),
        format!(
            "[registries.house]\nhost = \"{}\"\nusername = \"{USER}\"\npassword-file = \"{}\"\n\
             ca-file = \"{}\"\n",
            house.host(),
            config.join("password").display(),
            house.ca_file().display()
        ),
    )
    .expect("written");
    let names =
        [("REGISTRY", house.host()), ("STRANGER", stranger.host()), ("SILENT", silent.0.clone())];
    let pipeline = std::fs::read_to_string(folder.join("pipeline.yml")).expect("a pipeline");
    let real = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    let repository = Repository::create(&lab.folder("git"));
    repository.write(".shipline.yml", &names.iter().fold(pipeline.clone(), real));
    repository.write("README", "hello\n");
    repository.write("docker/app.Dockerfile", "FROM busybox:1\n");
    repository.write("ok.Dockerfile", "FROM busybox:1\n");
    let step = "RUN --mount=type=secret,id=TOKEN,required=true cat /run/secrets/TOKEN\n";
    repository.write("secret.Dockerfile", &format!("FROM busybox:1\n{step}"));
    repository.write("failing.Dockerfile", "FROM busybox:1\nRUN echo broken; exit 7\n");
    repository.write("ignoring/Dockerfile", "FROM busybox:1\n");
    repository.write("ignoring/.dockerignore", "# all but sources\n[a-\n");
    repository.commit("first");

    let ran = lab.run(&repository.tree, &["run", "--allow-side-effects"]).expect(1);
    let mut told = told(&ran.stdout);
    let mut came = String::new();
    // In the order of the file, each stage on its own.
    for line in pipeline.lines() {
        let name = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':'));
        if let Some(below) = name.and_then(|name| told.remove(name)) {
            came.push_str(&format!("{}\n{below}\n", name.unwrap_or_default()));
        }
    }
    assert!(told.is_empty(), "{told:?} in\n{}", ran.stdout);
    for (name, value) in names {
        came = came.replace(&value, name);
    }
    let path = folder.join("told.txt");
    if std::env::var_os("SHIPLINE_UPDATE_CASES").is_some() {
        std::fs::write(&path, &came).expect("written");
    }
    let expected = std::fs::read_to_string(&path).expect("what is said");
    assert!(came == expected, "SHIPLINE_UPDATE_CASES=1 writes it anew; came:\n{came}");
}
