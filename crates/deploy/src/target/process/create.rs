//! Units made: their records and ports.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::Path;

use tokio::net::TcpSocket;

use super::place::Placed;
use super::record::{Root, UnitFile};
use super::{ProcessTarget, artifact_name, blocking, done, infrastructure, key_of};
use crate::{Artifact, Op, OpOutcome, Spec, TargetError, UnitId};

impl ProcessTarget {
    /// Writes down a unit with a port that no other has; one that is already there
    /// is adopted if it is made as wanted.
    pub(super) async fn create(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if let Some(there) = self.view(&op.unit).await? {
            if there.file.spec == spec.unit_hash() {
                return Ok(done("is already there"));
            }
            self.confirm_out(&there, spec, fence).await?;
            self.end(&there).await?;
            self.remove_folder(&op.unit).await?;
        }
        let (root, ports) = (self.root.clone(), self.ports.clone());
        let (op, spec, instance) = (op.clone(), spec.clone(), self.instance.clone());
        let variables = self.machine.variables.clone();
        blocking(move || {
            let _fence = root.lock_fence(&key_of(&spec), fence)?;
            let _ports = root.lock_ports()?;
            let port = free_port(&root, &op.unit, &ports)?;
            let file = record(&root, &op, &spec, instance, fence, port)?;
            root.write(&op.unit, &file.with_variables(variables))?;
            Ok(done(format!("127.0.0.1:{port}")))
        })
        .await
    }

    /// Gives a unit another port, since its own was taken before it could listen.
    pub(super) async fn move_port(
        &self,
        unit: &UnitId,
        spec: &Spec,
        fence: u64,
    ) -> Result<(), TargetError> {
        let (root, ports) = (self.root.clone(), self.ports.clone());
        let (unit, key) = (unit.clone(), key_of(spec));
        blocking(move || {
            let _fence = root.lock_fence(&key, fence)?;
            let _ports = root.lock_ports()?;
            let Some(file) = root.read(&unit)? else { return Ok(()) };
            let port = free_port(&root, &unit, &ports)?;
            let mut file = UnitFile { port, ..file };
            file.variables.insert("PORT".to_owned(), port.to_string());
            root.write(&unit, &file)
        })
        .await
    }
}

fn record(
    root: &Root,
    op: &Op,
    spec: &Spec,
    instance: String,
    fence: u64,
    port: u16,
) -> Result<UnitFile, TargetError> {
    let placed = Placed::read(root, spec.release)?;
    let home = root.release(spec.release);
    let directory = match (&placed.directory, &spec.artifact) {
        (Some(directory), _) => home.join(directory.trim_start_matches('/')),
        (None, Artifact::Nothing) => root.unit(&op.unit)?,
        (None, _) => home.clone(),
    };
    let mut variables = placed.variables;
    variables.extend(spec.env.clone());
    variables.insert("PORT".to_owned(), port.to_string());
    variables.insert("SHIPLINE_RELEASE".to_owned(), spec.release.to_string());
    let command = match spec.unit.command.is_empty() {
        true => placed.command,
        false => spec.unit.command.clone(),
    };
    let Some((program, arguments)) = command.split_first() else {
        let message = "there is nothing to run: write the program into `command`".to_owned();
        return Err(TargetError::Refused { message });
    };
    let program = program_in(&home, program);
    Ok(UnitFile {
        instance,
        kind: "unit".to_owned(),
        project: spec.project.clone(),
        env: spec.environment.clone(),
        slot: op.slot,
        release: spec.release,
        deploy: op.deployment,
        fence,
        spec: spec.unit_hash(),
        artifact: artifact_name(&spec.artifact),
        command: std::iter::once(program).chain(arguments.iter().cloned()).collect(),
        directory,
        variables,
        port,
        routed: spec.expose.is_some(),
        stop_timeout: spec.unit.stop_timeout,
        keep_warm: spec.unit.keep_warm,
        stopped_at: None,
        comes_back: false,
    })
}

/// A program that a release brings is that of the release, whatever the machine
/// has at the same path.
fn program_in(home: &Path, program: &str) -> String {
    let inside = home.join(program.trim_start_matches('/'));
    match program.contains('/') && inside.is_file() {
        true => inside.to_string_lossy().into_owned(),
        false => program.to_owned(),
    }
}

/// Returns a port that no unit has and nobody listens on. That is no promise: it
/// may be taken before the unit listens, which its gate finds out.
fn free_port(root: &Root, unit: &UnitId, range: &RangeInclusive<u16>) -> Result<u16, TargetError> {
    let taken: BTreeSet<u16> = root.all()?.into_iter().map(|(_, file)| file.port).collect();
    let length = u64::from(range.end().saturating_sub(*range.start())) + 1;
    // Not the first one: a port that was just given up is remembered by others.
    let mut hasher = DefaultHasher::new();
    unit.0.hash(&mut hasher);
    let first = hasher.finish() % length;
    (0..length)
        .filter_map(|step| u16::try_from(u64::from(*range.start()) + (first + step) % length).ok())
        .filter(|port| !taken.contains(port))
        .find(|port| is_free(*port))
        .ok_or_else(|| {
            infrastructure(format!("no free port from {} to {}", range.start(), range.end()))
        })
}

/// Whether nobody listens on a port. To ask is not to listen: that would keep a unit
/// from it that is given the port at this moment, by an engine of another root.
fn is_free(port: u16) -> bool {
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::UNSPECIFIED, port).into())
    });
    bound.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_only_when_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().to_path_buf());
        let unit = UnitId("web-prod-0-a-b".to_owned());
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let none = free_port(&root, &unit, &(port..=port)).unwrap_err();
        assert_eq!(none.to_string(), format!("process: no free port from {port} to {port}"));
        drop(taken);
        assert_eq!(free_port(&root, &unit, &(port..=port)).ok(), Some(port));
    }

    #[test]
    fn a_program_of_the_release_comes_before_that_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        std::fs::create_dir(home.join("bin")).unwrap();
        std::fs::write(home.join("bin/sh"), "").unwrap();
        assert_eq!(program_in(home, "/bin/sh"), home.join("bin/sh").to_string_lossy());
        assert_eq!(program_in(home, "./bin/sh"), home.join("./bin/sh").to_string_lossy());
        assert_eq!(program_in(home, "/bin/true"), "/bin/true");
        assert_eq!(program_in(home, "sh"), "sh");
    }
}
