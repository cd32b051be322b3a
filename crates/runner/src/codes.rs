//! The codes a run says, explained (language.md §10.2); those of the file are `pipeline`'s.

use pipeline::Explanation;

/// Returns the explanation of a code of the run, in whatever case it is typed.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    CATALOGUE.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

/// Every code of a run, in order.
pub const CATALOGUE: &[Explanation] = &[
    Explanation {
        code: "E018",
        title: "not in this version",
        cause: "The key or value is part of the language, and this version of Shipline cannot run it yet. Ignoring it\nwould do something else than what is written.",
        example: "deploy: { environment: prod, image: push, verify: { http: \"https://orders.example.net/health\" } }",
        repair: "Remove it for now, or use a version of Shipline that has it.",
    },
    Explanation {
        code: "E065",
        title: "unknown registry credential",
        cause: "A `push` names a registry that neither the server nor this machine has a credential for.",
        example: "push: { image: image, registry: habor, tags: [\"harbor.example.net/team/orders:1\"] }",
        repair: "Use a name that exists, or add `[registries.NAME]` with `host`, `username` and `password-file` to the\nserver's configuration, or to `~/.config/shipline/config.toml` for local runs.",
    },
    Explanation {
        code: "E090",
        title: "image cannot be used, or not be pushed",
        cause: "The registry does not have the image, refuses it to this credential, or has it for another architecture\nonly; or the stage that should have made it made none. Or it refuses what a `push` sends: the project is\nnot there or full, the tag is on another host or may not be changed, or `push.scan` does not let it pass.",
        example: "image: debian:12.99",
        repair: "Look for a mistake in the reference. For a private image or a push, check the user and the password file\nof the registry, and what that user may do there. A refused push says what helps: create the project, free\nspace in it, or push a tag that is new each time. A scan names the worst of what it found: take packages\nin which that is fixed, or let more pass with `max-severity`.",
    },
    Explanation {
        code: "E091",
        title: "command not found or not executable",
        cause: "A command ended with 127 (the shell did not find it) or 126 (it may not be executed). Or none could begin:\nthe image has no such `user` or `shell`, the `workdir` is not there, or a `cache` is given twice or lies over\na file; then the message says so.",
        example: "image: debian:12\nstages:\n  build: make    # debian:12 has no make",
        repair: "Take an image that has the program, or install it in an earlier line of `run`. For a script of the\nrepository, check its path, its first line and `git update-index --chmod=+x FILE`.",
    },
    Explanation {
        code: "E092",
        title: "out of resources",
        cause: "The stage reached a limit of its container, mostly that of memory, and was killed.",
        example: "run: make -j64",
        repair: "Let it need less, for example with fewer jobs at a time. A stage has 2 CPUs, 4 GiB of memory and 512\nprocesses.",
    },
    Explanation {
        code: "E093",
        title: "timed out",
        cause: "The attempt took longer than `timeout`, which is `1h` where nobody writes one. The message says where the\nlimit comes from and what the last line of output was.",
        example: "stages:\n  test: { timeout: 2s, run: sleep 30 }",
        repair: "Find out what it waited for: often for input, or for a service that is not there. If it needs the time,\nraise `timeout`.",
    },
    Explanation {
        code: "E094",
        title: "service not ready, or ended",
        cause: "A service of the stage was not ready within its `ready.timeout`, which is `60s` where nobody writes one,\nor its container ended, before or while the stage ran. The message has what it was asked, what it answered,\nand its last lines.",
        example: "services:\n  db: { image: \"postgres:16\", ready: { cmd: pg_isready } }    # POSTGRES_PASSWORD is missing",
        repair: "Read the last lines of the service; `shipline logs RUN STAGE/SERVICE` has all of them. Check `env`,\n`command` and `ready` of the service, and `ready.timeout` when it only needs longer.",
    },
    Explanation {
        code: "E095",
        title: "parallel stages changed one path",
        cause: "Two stages that do not wait for each other wrote different things to the same path, and a third needs both.",
        example: "stages:\n  a: { needs: [], run: echo a > result }\n  b: { needs: [], run: echo b > result }\n  c: { needs: [a, b], run: cat result }",
        repair: "Let one need the other, or let them write to paths of their own.",
    },
    Explanation {
        code: "E096",
        title: "output refused",
        cause: "A stage wrote something to `$SHIPLINE_OUTPUT` that is no output of it: a name that `outputs` does not have,\na name twice, a value that is not of its type, or more than 64 KiB.",
        example: "outputs: { count: int }\nrun: echo count=many >> $SHIPLINE_OUTPUT",
        repair: "Declare each name under `outputs` with its type, and write each once, as `name=value` in a line of its own.\nA value of several lines has the type `json`.",
    },
    Explanation {
        code: "E097",
        title: "pattern matched nothing, or too much",
        cause: "A stage names files that are not in the workspace: a pattern of its `artifacts` or `reports` matches none\nthough it passed, or the `file` or `context` of its `build` is not there. The message says what there is\ninstead. Or the patterns match more than is kept: artifacts of a stage are 4 GiB and 100,000 files at most,\na report is 32 MiB.",
        example: "reports: { junit: \"target/surefire-report/*.xml\" }",
        repair: "Look for a mistake in the pattern: it begins at `/workspace`, not where the command ran. If the files\nare somewhere else in the container, copy them into the workspace. Of a `build`, the `file` is looked for in\nits `context`, then in the workspace.",
    },
    Explanation {
        code: "E098",
        title: "deploy failed",
        cause: "The new release did not get healthy, or could not be switched to. The message says which unit and why, and\nwhether the previous release is back.",
        example: "deploy: { environment: test, image: push, health: { http: /helth } }",
        repair: "Read the last lines of the unit in the stage's output. Check `expose.port`, the path in `health`, and\nwhether `health.deadline` leaves enough time to start.",
    },
    Explanation {
        code: "E099",
        title: "infrastructure",
        cause: "Docker, a registry, the network, the disk or Shipline itself was at fault, not your command. What may pass\nwas tried several times already.",
        example: "the registry is down, the engine was restarted, the proxy is not running",
        repair: "The message begins with the part that failed. When it works again, run again.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Text that names a code in the sources of this crate.
    fn codes_said(folder: &std::path::Path, said: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                codes_said(&path, said);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                for (at, _) in text.match_indices("\"E") {
                    let code: String = text[at + 1..].chars().take_while(|c| *c != '"').collect();
                    let digits = code.strip_prefix('E').unwrap_or_default();
                    if digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                        said.insert(code);
                    }
                }
            }
        }
    }

    #[test]
    fn every_code_a_run_can_say_is_explained() {
        let mut said = std::collections::BTreeSet::new();
        codes_said(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut said);
        assert!(said.contains("E091"), "{said:?}");
        for code in said {
            let known = explain(&code).or_else(|| pipeline::explain(&code));
            assert!(known.is_some(), "{code} is not explained");
        }
    }
}
