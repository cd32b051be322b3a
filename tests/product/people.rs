//! Stages that ask people, and people who look at what failed.

use crate::harness::lab::Lab;
use crate::harness::pty::Pty;
use crate::local_run::{assert_gapless, output_of, repository, result_of};

const PIPELINE: &str = "image: busybox:1
stages:
  ask:
    approve:
      by: [jo]
      message: Deploy it?
      fields:
        replicas: { type: int, min: 1, default: 2 }
        note: { type: string }
  use:
    env: { N: \"${{ stages.ask.outputs.replicas }}\", BY: \"${{ stages.ask.outputs.by }}\" }
    run: echo $N by $BY
  strict: { needs: [], approve: { by: [jo], fields: { why: { type: string, required: true } } } }
";

#[test]
fn an_approval_can_be_given_beforehand_and_is_never_assumed() {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(1).lines();
    assert_gapless(&lines);
    let reason = |stage: &str| {
        let end =
            lines.iter().find(|line| line["kind"] == "attempt.finished" && line["stage"] == stage);
        end.expect("an end")["reason"].as_str().expect("a reason").to_owned()
    };
    assert_eq!(
        reason("ask"),
        "nobody can be asked without a terminal; `--approve ask` approves beforehand"
    );
    let asked =
        lines.iter().find(|line| line["kind"] == "approval.requested" && line["stage"] == "ask");
    let asked = asked.expect("asked");
    assert_eq!((&asked["message"], &asked["by"][0]), (&"Deploy it?".into(), &"jo".into()));

    let approve = ["run", "--format", "json", "--approve", "ask", "--approve", "strict"];
    let lines = lab.run(&folder, &approve).expect(1).lines();
    assert_eq!(output_of(&lines, "use"), "2 by local\n");
    let given = lines.iter().find(|line| line["kind"] == "approval.given").expect("given");
    assert_eq!((&given["by"], &given["fields"]["replicas"]), (&"local".into(), &2.into()));
    assert_eq!(result_of(&lines, "strict"), "failed");
    let shown = lab.run(&folder, &["run", "--plain", "--approve", "strict"]).expect(1).stdout;
    assert!(shown.contains("field `why` has no default, so it cannot be approved"), "{shown}");
}

#[test]
fn a_break_needs_a_terminal() {
    let lab = Lab::new();
    let folder = repository(&lab, "image: busybox:1\nstages: { a: exit 1 }\n");
    let told = lab.run(&folder, &["run", "--break"]).expect(2).stderr;
    assert!(told.contains("`--break` asks on a terminal, and here is none"), "{told}");
    assert!(told.contains("`shipline shell STAGE`"), "{told}");
}

#[test]
fn an_approval_is_asked_for_on_the_terminal_with_its_fields() {
    let lab = Lab::new();
    let folder = repository(&lab, &PIPELINE.replace("  strict:", "  # strict:"));
    let mut pty = on_a_terminal(&lab, &folder, &["run"]);
    pty.wait_for("the question", |screen| screen.contains("Deploy it?\napprove? yes or no [no]:"));
    pty.write("yes\n");
    pty.wait_for("a field", |screen| screen.contains("note (string):"));
    pty.write("mind the gap\n");
    pty.wait_for("a field", |screen| screen.contains("replicas (int) [2]:"));
    pty.write("none\n");
    pty.wait_for("the rule", |screen| screen.contains("`replicas`: it is a whole number"));
    pty.write("7\n");
    assert_eq!(pty.wait(), 0, "{}", pty.everything());
    let run = &lab.run(&folder, &["runs", "--format", "json"]).json()[0]["short"];
    let run = run.as_str().expect("an id");
    assert_eq!(lab.run(&folder, &["logs", run, "use"]).stdout, "$ echo $N by $BY\n7 by local\n");

    let mut pty = on_a_terminal(&lab, &folder, &["run"]);
    pty.wait_for("the question", |screen| screen.contains("approve? yes or no [no]:"));
    pty.write("no\n");
    pty.wait_for("why", |screen| screen.contains("why:"));
    pty.write("too late\n");
    assert_eq!(pty.wait(), 1);
    assert!(pty.everything().contains("refused by local: too late"), "{}", pty.everything());

    // Ctrl-C is an answer, too.
    let mut pty = on_a_terminal(&lab, &folder, &["run"]);
    pty.wait_for("the question", |screen| screen.contains("approve? yes or no [no]:"));
    pty.write("\x03");
    assert_eq!(pty.wait(), 130, "{}", pty.everything());
}

#[test]
fn a_failed_stage_is_looked_at_repeated_and_given_up() {
    let lab = Lab::new();
    let pipeline = "image: busybox:1\nstages:\n  make: echo made >made\n  test: 'echo $SHIPLINE_ATTEMPT >n; test -e never'\n  last: 'true'\n";
    let folder = repository(&lab, pipeline);
    let mut pty = on_a_terminal(&lab, &folder, &["run", "--break"]);
    let asks = "shell, retry, continue or abort [shell]:";
    pty.wait_for("the break", |screen| {
        screen.contains("`test` failed in attempt 1: exit 1") && screen.contains(asks)
    });
    pty.write("shell\n");
    pty.wait_for("the shell", |screen| screen.contains("/workspace #"));
    pty.write("echo here $(cat made n)\n");
    pty.wait_for("its files", |screen| screen.contains("here made 1"));
    pty.write("exit\n");
    pty.wait_for("the question again", |screen| screen.matches(asks).count() == 2);
    pty.write("retry\n");
    pty.wait_for("the second attempt", |screen| {
        screen.contains("`test` failed in attempt 2: exit 1")
    });
    pty.write("continue\n");
    assert_eq!(pty.wait(), 1, "{}", pty.everything());
    let run = lab.run(&folder, &["runs", "--format", "json"]).json()[0]["short"].clone();
    let run = lab.run(&folder, &["runs", run.as_str().expect("an id"), "--format", "json"]).json();
    let stage = |name: &str| {
        let stages = run["stages"].as_array().expect("stages");
        stages.iter().find(|stage| stage["name"] == name).expect("a stage").clone()
    };
    assert_eq!(
        (&stage("test")["attempts"], &stage("last")["result"]),
        (&2.into(), &"blocked".into())
    );

    let mut pty = on_a_terminal(&lab, &folder, &["run", "--break"]);
    pty.wait_for("the break", |screen| screen.contains(asks));
    pty.write("abort\n");
    assert_eq!(pty.wait(), 130);
    let said = pty.everything();
    assert!(said.contains("cancelled by local: aborted when `test` failed"), "{said}");
}

fn on_a_terminal(lab: &Lab, folder: &std::path::Path, arguments: &[&str]) -> Pty {
    let mut command = lab.shipline();
    command.current_dir(folder).args(arguments);
    Pty::start(&command, 100, 40)
}
