//! `run` and the keys that say where, as whom and with what it runs.

use super::*;

#[test]
fn a_stage_without_keys_has_what_is_built_in() {
    gives(
        "
        stages: { a: { image: debian:12, run: make } }
        ",
        "a",
        &[
            "action",
            "image",
            "run",
            "env",
            "pull",
            "shell",
            "user",
            "workdir",
            "services",
            "outputs",
            "reports",
            "description",
            "secrets",
            "timeout",
            "cancel-grace",
            "allow-failure",
            "retry",
            "concurrency",
            "runner",
            "resources",
            "cache",
            "inputs",
            "artifacts",
            "merge",
        ],
        r##"
        action: "run"
        image: "debian:12"
        run: ["make"]
        env: {}
        secrets: []
        timeout: "1h"
        "##,
    );
}

#[test]
fn keys_of_a_command_say_where_and_as_whom_it_runs() {
    gives(
        "
        stages:
          a:
            description: Unit tests
            image: debian:12
            pull: always
            shell: bash
            user: 1000
            workdir: ./web/
            run: [make, make test]
        ",
        "a",
        &["description", "image", "run", "pull", "shell", "user", "workdir"],
        r##"
        description: "Unit tests"
        image: "debian:12"
        run: ["make","make test"]
        pull: true
        shell: "bash"
        user: "1000"
        workdir: "/workspace/web"
        "##,
    );
    gives(
        "
        image: python:3.13
        stages:
          a: { run: print(1), shell: [python3, -I, -c], user: 'www-data:adm', workdir: /workspace/web }
        ",
        "a",
        &["shell", "user", "workdir"],
        r##"
        shell: {"command":["python3","-I","-c"]}
        user: "www-data:adm"
        workdir: "/workspace/web"
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, pull: true, shell: bash -x, user: a b, workdir: ../other }
          b: { run: make, pull: missing, shell: [], user: '-1', workdir: /etc }
          c: { run: make, shell: fsh, user: 'root:', workdir: '' }
          d: { run: [], description: 7 }
          e: ['', ' ']
          f: { run: make, user: [root], workdir: 7 }
        ",
        r##"
        E012 3:25 `pull` takes `always`, not true or false | write `always`
        E015 3:38 `shell` is no shell: `bash -x` | shells are `sh` and `bash`; another program is a list: `[bash, -x]`
        E015 3:53 `user` is no user: `a b` | for example `root`, `1000`, `1000:1000` or `www-data`
        E015 3:67 `workdir` takes paths within the workspace, not `../other` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `web`
        E015 4:25 `pull` takes `always`, not `missing` | remove the line: an image is pulled when it is absent
        E012 4:41 `shell` has no program | for example `[python3, -c]`
        E015 4:51 `user` is no user: `-1` | for example `root`, `1000`, `1000:1000` or `www-data`
        E015 4:66 `workdir` takes paths within the workspace, not `/etc` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `web`
        E015 5:26 `shell` is no shell: `fsh` | shells are `sh` and `bash`; another program is a list: `[fsh]`
        E015 5:37 `user` is no user: `root:` | for example `root`, `1000`, `1000:1000` or `www-data`
        E015 5:55 `workdir` is no directory: `` | for example `web`
        E012 6:13 `run` has no command | for example `run: make`
        E012 6:30 `description` takes text, not a number | write "7"
        E012 7:6 `run` has no command | for example `run: make`
        E012 8:25 `user` takes a user, not a list | for example `1000:1000`
        E012 8:42 `workdir` takes text, not a number | write "7"
        "##,
    );
}

#[test]
fn text_of_others_cannot_become_part_of_a_shell_or_probe() {
    says(
        r#"
        image: debian:12
        stages:
          a:
            run: make
            shell: [sh, "${{ git.branch }}"]
            services:
              db:
                image: postgres:16
                command: "postgres ${{ git.tag }}"
                ready: { cmd: "psql ${{ git.message }}" }
        "#,
        r##"
        E043 5:22 `git.branch` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_BRANCH", which holds the same text safely
        E043 9:32 `git.tag` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_TAG", which holds the same text safely
        E043 10:33 `git.message` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_MESSAGE", which holds the same text safely
        "##,
    );
}

#[test]
fn outputs_are_names_with_types() {
    gives(
        "
        image: debian:12
        stages:
          a: { run: make, outputs: [version, build_number] }
        ",
        "a",
        &["outputs"],
        r##"
        outputs: {"build_number":"string","version":"string"}
        "##,
    );
    gives(
        "
        image: debian:12
        stages:
          a: { run: make, outputs: { a: string, b: int, c: bool, d: json } }
        ",
        "a",
        &["outputs"],
        r##"
        outputs: {"a":"string","b":"int","c":"bool","d":"json"}
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, outputs: [a-b, a, a, 1] }
          b: { run: make, outputs: { 2a: string, b: text, c: } }
          c: { run: make, outputs: version }
        ",
        r##"
        E016 3:29 an output cannot be named `a-b` | write for example `a_b`
        E002 3:37 output `a` is given twice | remove one of the two
        E012 3:40 `outputs` takes text, not a number | write "1"
        E016 4:30 an output cannot be named `2a` | write for example `_2a`
        E015 4:45 `b` is no type of an output: `text` | did you mean `string`? types are `string`, `int`, `bool`, `json`
        E012 4:52 `c` takes text, not nothing
        E012 5:28 `outputs` takes a list or a map, not text | for example `[version]` or `{ version: string }`
        "##,
    );
}

#[test]
fn e003_a_stage_has_at_most_200_outputs() {
    let says_of = |number: usize| {
        let names: Vec<_> = (0..number).map(|at| format!("o{at}")).collect();
        let text = format!(
            "image: debian:12\nstages:\n  a: {{ run: make, outputs: [{}] }}",
            names.join(", ")
        );
        lines(&found_in(&text, &Bundled, &on_main()))
    };
    assert_eq!(says_of(200), "");
    assert_eq!(
        says_of(201),
        "E003 3:28 stage `a` has 201 outputs, the limit is 200 | one output of type `json` holds many values"
    );
}

#[test]
fn keys_of_a_stage_are_looked_at_although_its_action_is_missing() {
    says(
        "
        stages:
          a: { script: make, timeout: 20, shell: fsh, services: { db: 7 }, resources: { cpu: 0 } }
        ",
        r##"
        E010 2:8 unknown key `script` in stage `a` | did you mean `run`?
        E012 2:31 `timeout` takes a duration, and a number alone has no unit | write `20m` or `20s`
        E015 2:42 `shell` is no shell: `fsh` | shells are `sh` and `bash`; another program is a list: `[fsh]`
        E012 2:63 service `db` of stage `a` takes an image or a map, not a number | for example `redis:7` or `{ image: redis:7 }`
        E015 2:86 `cpu` takes a number of cores from 0.01 to 1024, not `0` | out of range; for example `2` or `0.5`
        "##,
    );
}
