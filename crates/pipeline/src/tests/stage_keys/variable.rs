//! `env` and `secrets`.

use super::*;

#[test]
fn values_of_variables_stay_as_they_are_written() {
    gives(
        "
        image: debian:12
        env: { A: no, B: 1, C: x }
        stages:
          a: { run: make, env: { B: on, D: 1e3, E: 012, F: True, G: 1.10, H: '', I: 0x1F } }
        ",
        "a",
        &["env"],
        r##"
        env: {"A":"no","B":"on","C":"x","D":"1e3","E":"012","F":"True","G":"1.10","H":"","I":"0x1F"}
        "##,
    );
}

#[test]
fn any_variable_but_those_of_shipline_can_be_set() {
    says(
        "
        image: debian:12
        stages:
          a: { run: make, env: { LD_PRELOAD: ./a.so, PATH: /bin, BASH_ENV: ./b, GIT_SSH_COMMAND: ssh } }
        ",
        "",
    );
    says(
        "
        image: debian:12
        env: { SHIPLINE_X: 1 }
        stages:
          a:
            run: make
            env: { SHIPLINE_STAGE: x, A-B: x, C: [], D: }
            secrets: [SHIPLINE_TOKEN, { name: SHIPLINE_KEY, file: true }, { name: SHIPLINE_B, env: B }]
            services: { db: { image: 'postgres:16', env: { SHIPLINE_Y: 1 } } }
        ",
        r##"
        E017 2:8 `SHIPLINE_X` cannot be set: names that begin with `SHIPLINE_` are Shipline's | write for example `X`
        E017 6:12 `SHIPLINE_STAGE` cannot be set: names that begin with `SHIPLINE_` are Shipline's | write for example `STAGE`
        E016 6:31 `A-B` in `env` cannot be the name of a variable | write for example `A_B`
        E012 6:42 `env.C` takes text, a number or true or false, not a list
        E012 6:47 `env.D` takes text, not nothing | write "" for an empty value
        E017 7:15 `SHIPLINE_TOKEN` cannot be set: names that begin with `SHIPLINE_` are Shipline's | give the variable another name: `{ name: SHIPLINE_TOKEN, env: TOKEN }`
        E017 8:52 `SHIPLINE_Y` cannot be set: names that begin with `SHIPLINE_` are Shipline's | write for example `Y`
        "##,
    );
}

#[test]
fn variables_have_limits_each_and_together() {
    let says_of = |text: &str| lines(&found_in(text, &Bundled, &on_main()));
    let file = |size: usize, env: &str| {
        let big = "x".repeat(size);
        format!(
            "x-big: &big {big}\nimage: debian:12\nenv: {{ A: *big, B: *big, C: *big, D: *big }}\n\
                 stages:\n  a:\n    run: make\n    env: {{ {env} }}"
        )
    };
    assert_eq!(says_of(&file(128 << 10, "E: *big, F: *big, G: *big, H: *big")), "");
    assert_eq!(
        says_of(&file((128 << 10) + 1, "E: e")),
        "E003 3:8 `env.A` is 131073 bytes long, the limit is 131072 | put the value into a file of the repository\n\
         E003 3:17 `env.B` is 131073 bytes long, the limit is 131072 | put the value into a file of the repository\n\
         E003 3:26 `env.C` is 131073 bytes long, the limit is 131072 | put the value into a file of the repository\n\
         E003 3:35 `env.D` is 131073 bytes long, the limit is 131072 | put the value into a file of the repository"
    );
    assert_eq!(
        says_of(&file(128 << 10, "E: *big, F: *big, G: *big, H: *big, I: i")),
        "E003 7:10 all variables together are 1048577 bytes long, the limit is 1048576 | put large values into files of the repository"
    );
}

#[test]
fn variables_beside_a_build_are_its_arguments_below_args() {
    gives(
        "
        env: { A: a, B: b }
        stages:
          a: { env: { B: own }, build: { args: { C: c } } }
        ",
        "a",
        &["args", "env"],
        r##"
        args: {"C":"c"}
        env: {"A":"a","B":"own"}
        "##,
    );
}

#[test]
fn secrets_arrive_as_variables_or_as_files() {
    gives(
        "
        image: debian:12
        stages:
          a:
            run: make
            secrets: [NPM_TOKEN, { name: SONAR, env: SONAR_TOKEN }, { name: KEY, file: true }, { name: B, env: B }]
        ",
        "a",
        &["secrets"],
        r##"
        secrets: [{"name":"NPM_TOKEN","present":false},{"env":"SONAR_TOKEN","name":"SONAR","present":false},{"file":true,"name":"KEY","present":false},{"name":"B","present":false}]
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, secrets: NPM_TOKEN }
          b: { run: make, secrets: { NPM_TOKEN: x } }
          c: { run: make, secrets: [npm-token, 7, { env: A }, { name: A, env: 1A }, { name: A, fil: true }] }
          d: { run: make, secrets: [A, A, { name: B, env: A }, { name: C, env: D, file: true }] }
          e: { run: make, env: { TOKEN: x }, secrets: [TOKEN] }
          f: { run: make, secrets: ['${{ git.branch }}'] }
        ",
        r##"
        E012 3:28 `secrets` takes a list, not text | write `[NPM_TOKEN]`
        E012 4:28 `secrets` takes a list, not a map | for example `[NPM_TOKEN]`
        E016 5:29 a secret cannot be named `npm-token` | write for example `npm_token`
        E012 5:40 `secrets` takes text, not a number | write "7"
        E014 5:43 a secret of stage `c` has no `name` | for example `name: NPM_TOKEN`
        E016 5:71 a variable cannot be named `1A` | write for example `_1A`
        E002 5:85 secret `A` is given twice | remove one of the two
        E010 5:88 unknown key `fil` in a secret of stage `c` | did you mean `file`?
        E002 6:32 secret `A` is given twice | remove one of the two
        E002 6:43 variable `A` is given twice | remove one of the two
        E013 6:67 secret `C` is a file, so no variable holds it | remove `env`, or `file`
        E013 7:48 `TOKEN` is set by `env` and by a secret | keep one
        E045 8:30 expressions are not available in `secrets` | write the value itself
        "##,
    );
}
