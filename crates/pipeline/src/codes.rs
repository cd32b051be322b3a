//! The catalogue of codes (language.md §10.2): stable, and never reused.
//!
//! Here are those that this crate says. Codes of the run (E018, and E090 and up)
//! belong to the runner, which explains them; the others come with the keys they are about.

use std::fmt;

use serde::{Serialize, Serializer};

/// What `shipline explain CODE` prints.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// As it is printed: `E010`.
    pub code: &'static str,
    pub title: &'static str,
    pub cause: &'static str,
    /// A file that gets the code, or what leads to it.
    pub example: &'static str,
    pub repair: &'static str,
}

macro_rules! catalogue {
    ($($code:ident $title:literal {
        cause: $cause:literal, example: $example:literal, repair: $repair:literal $(,)?
    })*) => {
        /// The code of a finding: `E…` is an error, `W…` a warning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($code),* }

        impl Code {
            /// As it is printed: `E010`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => stringify!($code)),* }
            }
        }

        /// Every code, in order.
        pub const CATALOGUE: &[Explanation] = &[$(Explanation {
            code: stringify!($code), title: $title, cause: $cause, example: $example, repair: $repair,
        }),*];
    };
}

/// Returns the explanation of a code, in whatever case it is typed.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    CATALOGUE.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}\n\n{}\n\nExample:\n", self.code, self.title, self.cause)?;
        for line in self.example.lines() {
            writeln!(f, "    {line}")?;
        }
        writeln!(f, "\n{}", self.repair)
    }
}

catalogue! {
    E001 "not YAML" {
        cause: "The text does not follow the rules of YAML: a bracket or quote is not closed, an indentation fits nothing above it, or a tab indents.",
        example: "image: debian:12\nstages:\n  build: [make, make test\n  test: make check\n",
        repair: "Look at the place, and at the one where the enclosing list, map or quote began. Indent with spaces, and put a text with `: ` in it, or one that begins with `*`, `@` or a back quote, into quotes.",
    }
    E002 "given twice" {
        cause: "A map holds the same key twice, or a pipeline the same stage. YAML would keep one of them in silence.",
        example: "image: debian:12\nstages:\n  build: make\n  build: make all\n",
        repair: "Remove one of the two, or give the second another name.",
    }
    E003 "beyond a limit of the file" {
        cause: "The file is empty, holds several documents, is not UTF-8, holds control characters, or is larger, deeper or has more aliases than can be read safely.",
        example: "image: debian:12\nstages:\n  build: make\n---\nimage: debian:12\nstages:\n  test: make test\n",
        repair: "The message names the number found and the limit. Several pipelines are several files: .shipline/NAME.yml.",
    }
    E004 "wrong form of the file" {
        cause: "The file is not a map, or `stages` is a list, as other systems have it. Stages are a map, so that each has one name.",
        example: "image: debian:12\nstages:\n  - name: build\n    run: make\n",
        repair: "Write each stage under its name:\nstages:\n  build:\n    run: make",
    }
    E005 "no pipeline file, or too many" {
        cause: "There is neither `.shipline.yml` nor a `*.yml` in `.shipline/`, or there are both, or no pipeline has the name that was asked for.",
        example: "shipline run --pipeline realease    # the file is .shipline/release.yml",
        repair: "Keep one file `.shipline.yml`, or one file per pipeline in `.shipline/`. Choose one with `--pipeline NAME`.",
    }
    E006 "newer language" {
        cause: "`version` of the file is higher than the version of the language that this Shipline reads.",
        example: "version: 2\nimage: debian:12\nstages:\n  build: make\n",
        repair: "Use a newer Shipline; the message names which.",
    }
    E007 "YAML tag" {
        cause: "The file uses a tag such as `!secret`. Tags are not used here: a value is what it looks like.",
        example: "image: !base debian:12\nstages:\n  build: make\n",
        repair: "Remove the tag, or put a text that begins with `!` into quotes: \"!src/**\". Secrets are named under the key `secrets`.",
    }
    E010 "unknown key" {
        cause: "The key is not a key of the language at this place.",
        example: "image: debian:12\nstages:\n  build: make\n  test:\n    neds: [build]\n    run: make test\n",
        repair: "The message lists the keys that are allowed, and the one that was probably meant. At the top level, keys beginning with `x-` are free.",
    }
    E011 "key at the wrong place" {
        cause: "The key exists, but it belongs to another place or to another action.",
        example: "image: debian:12\nstages:\n  image:\n    image: debian:12\n    build: { file: Dockerfile }\n",
        repair: "Move it to the place the message names, or remove it.",
    }
    E012 "wrong type" {
        cause: "The value is of another type than the key takes: a number without a unit for a duration, a word for a list, a number for a text.",
        example: "image: debian:12\ntimeout: 20\nstages:\n  build: make\n",
        repair: "Write the value as the message corrects it: `20` is `20m` or `20s`, `1.10` in quotes stays `1.10`.",
    }
    E013 "excluding each other" {
        cause: "A stage has no action or several, or keys are given together of which only one can hold.",
        example: "image: debian:12\nstages:\n  build:\n    run: make\n    build: { file: Dockerfile }\n",
        repair: "Give each stage exactly one of run, build, push, deploy, approve and trigger. Make two stages of one that does two things.",
    }
    E014 "required key missing" {
        cause: "Something cannot work without a key, most often a `run` without any `image` to run it in.",
        example: "stages:\n  build: make\n",
        repair: "Add the key at one of the places the message names.",
    }
    E015 "bad value" {
        cause: "The value has the right type and says nothing usable: no duration, pattern, image reference, port or mail address.",
        example: "image: Debian:12\nstages:\n  build: make\n",
        repair: "The caret points at the part that is wrong, and the message shows an example.",
    }
    E016 "bad name" {
        cause: "A name breaks its rule, or it is taken: `checkout` is the engine's own first stage.",
        example: "image: debian:12\nstages:\n  unit test: make test\n",
        repair: "Use the corrected name of the message.",
    }
    E017 "reserved variable" {
        cause: "Names that begin with `SHIPLINE_` are set by Shipline and cannot be set by a file.",
        example: "image: debian:12\nenv: { SHIPLINE_STAGE: x }\nstages:\n  build: make\n",
        repair: "Choose another name.",
    }
    E020 "unknown stage" {
        cause: "`needs`, `after`, `before` or `image` names a stage that is not in the file, was removed with `off`, or makes no image.",
        example: "image: debian:12\nstages:\n  build: make\n  test:\n    needs: [biuld]\n    run: make test\n",
        repair: "Name one of the stages the message lists.",
    }
    E021 "circle" {
        cause: "Stages wait for each other in a circle, or a stage for itself, so that none of them could ever start.",
        example: "image: debian:12\nstages:\n  a:\n    needs: [b]\n    run: make a\n  b:\n    needs: [a]\n    run: make b\n",
        repair: "Remove one of the edges the message shows. A stage without `needs` waits for all stages above it.",
    }
    W022 "conditions that exclude each other" {
        cause: "A stage has a need with `must: run`, written or implied, and there is no event for which the conditions of both hold. So it never runs.",
        example: "image: debian:12\nstages:\n  image:\n    when: { branch: main }\n    run: make image\n  publish:\n    needs: [{ stage: image, must: run }]\n    when: { branch: dev }\n    run: make publish\n",
        repair: "Give both stages the same condition, or remove `must: run`.",
    }
    W023 "a stage that never runs" {
        cause: "The condition of the stage is false for every event: it asks for a tag on a push, its list is empty, or its `if` is `false`.",
        example: "image: debian:12\nstages:\n  publish:\n    when: { event: push, tag: \"v*\" }\n    run: make publish\n",
        repair: "Change the condition. A list of maps is an or, the keys of one map are an and. To switch a stage off, write `when: off`.",
    }
    W024 "deploys past a skipped stage" {
        cause: "A stage on the way to a deploy has a condition. When it is skipped, its users still run, and the deploy happens without it.",
        example: "image: debian:12\nstages:\n  image: { build: { file: Dockerfile } }\n  scan:\n    when: { branch: main }\n    run: make scan\n  deploy:\n    timeout: 10m\n    deploy: { environment: demo, image: image }\nenvironments:\n  demo: { target: { docker: { host: \"unix:///var/run/docker.sock\" } } }\n",
        repair: "Write `{ stage: scan, must: run }` into the needs of the deploy, give both the same condition, or allow it on the line of the stage: # shipline: allow W024.",
    }
    W025 "merge of nothing" {
        cause: "`merge` says whose file counts where stages that run side by side wrote the same path. The stages above this one run one after another, so nothing can conflict.",
        example: "image: debian:12\nstages:\n  a: make\n  b: { run: make test, merge: last }\n",
        repair: "Remove `merge`.",
    }
    W026 "inputs that do not say everything" {
        cause: "A stage with `inputs` is skipped while those files are unchanged. What its services hold, and scripts that no pattern matches, can change without that.",
        example: "image: debian:12\nstages:\n  test:\n    inputs: [\"src/**\"]\n    run: ./ci/test.sh\n",
        repair: "Add the missing files to `inputs`, or leave `inputs` out where a service's data matters.",
    }
    E030 "unknown template" {
        cause: "No source of templates has one of this name.",
        example: "template: c-servise@1\nwith: { image: registry.example/orders }\n",
        repair: "Name one of the templates the message lists.",
    }
    E031 "unknown version of a template" {
        cause: "The template is there, but not in this version, or no version was named.",
        example: "template: c-service@99\nwith: { image: registry.example/orders }\n",
        repair: "Name one of the versions the message lists.",
    }
    E032 "unknown parameter" {
        cause: "`with` sets a parameter that the template does not have.",
        example: "template: c-service@1\nwith: { image: registry.example/orders, registry: demo, environment: demo, replica: 3 }\n",
        repair: "Use one of the parameters of the table in the message.",
    }
    E033 "parameter missing" {
        cause: "The template cannot do without a parameter that `with` does not set.",
        example: "template: c-service@1\nwith: { registry: demo, environment: demo }\n",
        repair: "Add it to `with`.",
    }
    E034 "bad value of a parameter" {
        cause: "The value breaks a rule of the parameter: its type, pattern, range or list of values.",
        example: "template: c-service@1\nwith: { image: registry.example/orders, registry: demo, environment: demo, replicas: 0 }\n",
        repair: "Choose a value within the rule; the message shows the line that declares it.",
    }
    E035 "against the template's policy" {
        cause: "The template does not let this part be changed.",
        example: "template: locked@1\nstages:\n  scan: off\n",
        repair: "Leave the stage as it is, or ask the owner of the template. The message names what may be changed.",
    }
    E036 "no such stage in the template" {
        cause: "The file changes or removes a stage that the template does not have, and gives it no action, so it is no new stage either.",
        example: "template: c-service@1\nwith: { image: registry.example/orders, registry: demo, environment: demo }\nstages:\n  unit-tests:\n    env: { TZ: UTC }\n",
        repair: "Use the name of a stage of the template; a new stage needs an action, such as `run`.",
    }
    E037 "template not locked" {
        cause: "`.shipline.lock` does not have the template, or what was found for it is not what the lock has. The lock is what makes a commit run with the same templates for ever.",
        example: "template: unlocked@1\n",
        repair: "Run `shipline template update`, look at what it says will change, and commit the lock.",
    }
    E038 "templates in a circle" {
        cause: "A template names itself, directly or through others, or templates lie too deep in one another.",
        example: "template: circle@1\n",
        repair: "Remove the `template` of one of those in the chain.",
    }
    E039 "template cannot be fetched" {
        cause: "The repository of a template does not answer, or does not let us in, and the template is not stored here.",
        example: "template: https://git.example/ci/templates.git//java-service@2\n",
        repair: "Look at the reason in the message: the address, the network, the right to read it. What was fetched once is read without the network, also with `--offline`.",
    }
    E040 "not an expression" {
        cause: "What stands in `${{ }}` does not follow the rules of the expression language (CEL), or has no end.",
        example: "image: debian:12\nstages:\n  build:\n    env: { TAG: \"${{ git.sha + }}\" }\n    run: make\n",
        repair: "Look at the caret. Text in expressions stands in quotes: ${{ git.branch == 'main' }}.",
    }
    E041 "unknown name in an expression" {
        cause: "The expression reads a name or calls a function that does not exist.",
        example: "image: debian:12\nstages:\n  build:\n    env: { TAG: \"${{ git.brnch }}\" }\n    run: make\n",
        repair: "Use one of the names the message lists. Secrets are not read by expressions; they are named under `secrets`.",
    }
    E042 "wrong type in an expression" {
        cause: "An operator or function got a value it cannot work with, a list or map stands inside a text, or a value is missing for this event.",
        example: "image: debian:12\nstages:\n  build:\n    env: { TAG: \"v${{ git.tag }}\" }\n    run: make\n",
        repair: "Convert the value, or give the stage a condition under which it is there.",
    }
    E043 "untrusted text in a command" {
        cause: "Branch names, messages, authors and tags are chosen by whoever pushes. Inside a command, such text could run commands of its own.",
        example: "image: debian:12\nstages:\n  build: echo ${{ git.branch }}\n",
        repair: "Read the environment variable that holds the same text: \"$SHIPLINE_GIT_BRANCH\". `slug(git.branch)` is safe, too.",
    }
    E044 "output, cell or stage that cannot be read" {
        cause: "An expression reads a stage, a cell of its matrix or an output that does not exist, or a stage that is not among the needs and may not be done.",
        example: "image: debian:12\nstages:\n  image:\n    matrix: { arch: [amd64, arm64] }\n    build: { file: Dockerfile }\n  publish:\n    push: { image: image, registry: harbor, tags: [\"registry.example/app:1\"] }\n",
        repair: "Add the stage to `needs`, the name to `outputs` of the stage that is read, or name the cell: stages.NAME.cells[\"axis=value\"].",
    }
    E045 "name not available here" {
        cause: "The name exists, but it has no value at this place or at this time.",
        example: "image: debian:12\nname: \"${{ git.branch }}\"\nstages:\n  build: make\n",
        repair: "Use it at one of the places the message names.",
    }
    E046 "expression too long or too expensive" {
        cause: "The expression is longer than 4 KiB, nests brackets and operators too deep, or loops too often.",
        example: "image: debian:12\nstages:\n  build:\n    env: { A: \"${{ ((((((((((1)))))))))) }}\" }\n    run: make\n",
        repair: "Compute the value in a stage.",
    }
    E050 "secret not available" {
        cause: "On a server a secret must be defined for the project, and its scope must cover the event, the branch and the environment of the run.",
        example: "image: node:22\nstages:\n  publish: { run: npm publish, secrets: [NPM_TOKEN] }\n",
        repair: "Define the secret on the server, give the stage a `when` that fits its scope, or widen the scope. For local runs put NAME=value into .shipline/secrets.env, which Git must ignore.",
    }
    W051 "looks like a credential" {
        cause: "The file holds a text that looks like a password, key or token. Whoever can read the repository, now or in its history, has it. The value is never shown.",
        example: "image: debian:12\nstages:\n  build:\n    env: { DATABASE: \"postgres://app:hunter22@db/orders\" }\n    run: make\n",
        repair: "Make it a secret, name it under `secrets` of the stage, and replace the value where it is in use.",
    }
    W052 "secret that masks badly" {
        cause: "A value that is very short, or has several lines, cannot be found reliably in output, so it may be shown.",
        example: "image: node:22\nstages:\n  publish: { run: npm publish, secrets: [PIN] }\n",
        repair: "Store a longer value of one line, or use it as a file: `{ name: NAME, file: true }`.",
    }
    E060 "not allowed here" {
        cause: "An administrator has limited what stages may ask for: resources, users, registries, and which branches may deploy to an environment.",
        example: "image: debian:12\nstages:\n  build: { run: make, resources: { memory: 64Gi } }\n",
        repair: "Stay within what the message says is allowed, or ask whoever set it.",
    }
    E061 "too many stages or cells, or none" {
        cause: "The pipeline has more than 10,000 stages, all cells of its matrices counted, or more than a million edges; or a matrix has no cell.",
        example: "image: debian:12\nstages:\n  test:\n    matrix: { os: [a, b], exclude: [{ os: a }, { os: b }] }\n    run: make test\n",
        repair: "Shorten an axis, split the pipeline, or leave a cell to the matrix.",
    }
    E062 "unknown environment" {
        cause: "A stage deploys to an environment that nobody defines. On a server, the server must define it. On a laptop the file must, when the run is to deploy from there; a plan takes an unknown name for one of a server's, unless it looks like a slip for one of the file's.",
        example: "image: debian:12\nstages:\n  image: { build: { file: Dockerfile } }\n  deploy:\n    timeout: 10m\n    deploy: { environment: demo, image: image }\n",
        repair: "Define it under `environments` for local runs, and on the server for its runs.",
    }
    E063 "protected environment not on the server" {
        cause: "An environment is protected when its tier is `prod` or `preprod`, or when it says so, and a protected environment must be defined on the server. A file cannot do that, since whoever can change the file could change the protection.",
        example: "environments:\n  live: { tier: prod, target: { docker: { host: \"unix:///var/run/docker.sock\" } } }\nstages:\n  image: { build: { file: Dockerfile } }\n  deploy:\n    timeout: 10m\n    deploy: { environment: live, image: image }\n",
        repair: "Define it in the configuration of the server. Its definition in the file is for local runs.",
    }
    E064 "no such runner" {
        cause: "`runner` names labels, and no runner of the server has all of them.",
        example: "image: debian:12\nstages:\n  build: { run: make, runner: [arm64] }\n",
        repair: "Use labels that one runner has; the message lists those there are.",
    }
    E065 "unknown credential of a registry" {
        cause: "`push.registry` names a credential that the server does not have. It is a name, not a host.",
        example: "stages:\n  image: { build: { file: Dockerfile } }\n  publish:\n    push: { image: image, registry: harbour, tags: [\"harbor.corp.example/team/orders:1.0\"] }\n",
        repair: "Use one of the names the message lists, or define it as [registries.NAME] in the server's configuration.",
    }
    E066 "parameter of a run" {
        cause: "A run was given a parameter that `on.manual.params` does not declare, a value that breaks the rule of its parameter, or nothing for one that is required. A schedule gives its parameters in the file, and a person at the start.",
        example: "image: debian:12\non:\n  manual: { params: { target: { type: enum, values: [staging, prod] } } }\n  schedule: { cron: \"0 3 * * *\", params: { target: production } }\nstages:\n  build: make\n",
        repair: "Give one of the values the message names.",
    }
    E067 "unknown suite" {
        cause: "`verify` names a suite of checks that the file does not have under `suites`, nor any template of it.",
        example: "suites: { smoke: { http: /health } }\nenvironments:\n  demo: { target: { docker: { host: \"unix:///var/run/docker.sock\" } } }\nstages:\n  image: { build: { file: Dockerfile } }\n  deploy:\n    timeout: 10m\n    deploy: { environment: demo, image: image, verify: smok }\n",
        repair: "Name one that is there, or define it under `suites`; a check can also stand in `verify` itself.",
    }
    W070 "open end" {
        cause: "An image without a tag or with `latest` may be another one tomorrow; a deploy without `timeout` may take an hour; a deploy after `allow-failure: true` happens after any failure.",
        example: "image: debian\nstages:\n  build: make\n",
        repair: "Name a version, write a `timeout`, and name the exit codes that may be allowed: `allow-failure: [1]`.",
    }
    W071 "deprecated key" {
        cause: "The key still works, and a later version of Shipline will not read it any more. No key is deprecated today.",
        example: "no file of this version can get it",
        repair: "Write the key that the message names.",
    }
    W072 "number where text was meant" {
        cause: "In a matrix and in parameters a plain number keeps its type, so that `3.10` is 3.1 and `012` is 12.",
        example: "image: debian:12\nstages:\n  test:\n    matrix: { python: [3.9, 3.10] }\n    run: make test\n",
        repair: "Put it in quotes.",
    }
    W073 "download piped into a shell" {
        cause: "The script runs whatever a server answers today, so the same commit can do something else tomorrow, and whoever owns that server runs commands here.",
        example: "image: debian:12\nstages:\n  tools: curl -fsSL https://tools.corp.example/install.sh | sh\n",
        repair: "Download one version into a file, compare its digest, then run it.",
    }
    W074 "name without a digest" {
        cause: "The project asks for digests, so that a run uses exactly what was looked at. A tag can be moved.",
        example: "image: debian:12\nstages:\n  build: make\n",
        repair: "Write the digest behind the name.",
    }
    W075 "parameter that nothing reads" {
        cause: "A template asks for a parameter and has no expression that reads it. Whoever sets it changes nothing.",
        example: "description: Builds\nparams: { jdk: { type: int, default: 21, description: The JDK } }\nimage: debian:12\nstages: { build: make }\n",
        repair: "Read it as `${{ params.NAME }}` where it belongs, or remove it.",
    }
    W076 "template without a description" {
        cause: "A template, or a parameter of it, does not say what it is for. `shipline template show` has nothing to show for it.",
        example: "params: { jdk: { type: int, default: 21 } }\nimage: \"openjdk:${{ params.jdk }}\"\nstages: { build: make }\n",
        repair: "Add a `description`.",
    }
    E080 "file of another CI system" {
        cause: "There is no pipeline file, but one that Jenkins, GitLab, Woodpecker, Drone, GitHub Actions or another system reads, or such a file was named.",
        example: "shipline check .gitlab-ci.yml",
        repair: "Write `.shipline.yml`; the words of other systems are recognised, and what they are called here is told. The message says whether `shipline import` can convert the file.",
    }
}
