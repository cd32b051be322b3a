//! Files that outlive a stage.

use super::*;

#[test]
fn a_cache_is_one_map_or_a_list_of_them() {
    gives(
        "
        image: debian:12
        stages:
          a: { run: make, cache: { key: npm-1, restore: [npm-], paths: [~/.npm, node_modules, /root/.cargo] } }
          b: { run: make, cache: [{ key: a, paths: a }, { key: b, paths: ./b, restore: b }] }
        ",
        "a",
        &["cache"],
        r##"
        cache: [{"key":"npm-1","paths":["~/.npm","node_modules","/root/.cargo"],"restore":["npm-"]}]
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, cache: ~/.npm }
          b: { run: make, cache: { key: a } }
          c: { run: make, cache: [{ paths: [] , key: '' }, { restore: a }] }
          d: { run: make, cache: { key: a, paths: [/, ., ~, ../a, 'a/*', /workspace, ''] } }
        ",
        r##"
        E012 3:26 `cache` of stage `a` takes a map, not text | write `{ key: npm, paths: [~/.npm] }`
        E014 4:26 `cache` of stage `b` has no `paths` | add for example `paths: [~/.npm]`
        E012 5:36 `paths` has no path | add one, or remove `paths`
        E015 5:46 `key` takes one line of text, not `` | write at least one character and at most 512
        E014 5:52 `cache` of stage `c` has no `key` | add for example `key: "npm-${{ hash('package-lock.json') }}"`
        E014 5:52 `cache` of stage `c` has no `paths` | add for example `paths: [~/.npm]`
        E015 6:44 `paths` is no directory that can be cached: `/` | name a directory, for example `~/.m2` or `node_modules`
        E015 6:47 `paths` is no directory that can be cached: `.` | name a directory, for example `~/.m2` or `node_modules`
        E012 6:50 `paths` takes a path, not nothing | `~` alone is nothing in YAML; name a directory, for example `~/.m2`
        E015 6:53 `paths` is no directory that can be cached: `../a` | write the path without `..`
        E015 6:59 `paths` is no directory that can be cached: `a/*` | a cache keeps whole directories, so this is no pattern; for example `~/.m2`
        E015 6:66 `paths` is no directory that can be cached: `/workspace` | name a directory, for example `~/.m2` or `node_modules`
        E015 6:78 `paths` is no directory that can be cached: `` | for example `~/.m2` or `node_modules`
        "##,
    );
}

#[test]
fn files_that_stay_are_named_by_patterns_within_the_workspace() {
    gives(
        "
        image: debian:12
        stages:
          a:
            run: make
            inputs: ['src/**', Cargo.lock, '!src/old/**']
            artifacts: ./dist/**
            reports: { junit: '**/TEST-*.xml' }
            merge: ['target/**']
        ",
        "a",
        &["inputs", "artifacts", "reports", "merge"],
        r##"
        inputs: ["src/**","Cargo.lock","!src/old/**"]
        artifacts: {"expire":"30d","on":"success","paths":["dist/**"]}
        reports: {"junit":["**/TEST-*.xml"]}
        merge: {"paths":["target/**"]}
        "##,
    );
    gives(
        "
        image: debian:12
        stages:
          a:
            run: make
            artifacts: { paths: [dist/*.jar, '!dist/*-sources.jar'], name: jars, expire: 14d, on: always }
            merge: last
        ",
        "a",
        &["artifacts", "merge"],
        r##"
        artifacts: {"expire":"14d","name":"jars","on":"always","paths":["dist/*.jar","!dist/*-sources.jar"]}
        merge: "last"
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, inputs: [], artifacts: { name: x }, reports: a.xml, merge: first }
          b: { run: make, inputs: ['${{ git.branch }}'], artifacts: [], reports: {}, merge: [] }
          c: { run: make, inputs: /etc/*, artifacts: /workspace/dist/*, reports: { junit: ../a }, merge: { a: b } }
          d: { run: make, inputs: dist/, artifacts: ['{a', ., ~/x], reports: { junit: [], cobertura: a } }
          e: { run: make, artifacts: { paths: a, name: a/b, expire: 0s, on: failed } }
          f: { run: make, artifacts: { paths: a, name: .a, expire: 30 } }
        ",
        r##"
        E012 3:27 `inputs` has no pattern | add one, or remove `inputs`
        E014 3:42 `artifacts` of stage `a` has no `paths` | add for example `paths: [dist/**]`
        E012 3:64 `reports` of stage `a` takes a map, not text | write `{ junit: a.xml }`
        E012 3:78 `merge` takes `last` or a list, not text | write `last` for all paths, or `[first]`
        E045 4:29 expressions are not available in `inputs` | write the value itself
        E012 4:61 `paths` has no pattern | add one, or remove `paths`
        E014 4:74 `reports` of stage `b` has no `junit` | add for example `junit: "**/TEST-*.xml"`
        E012 4:85 `merge` has no pattern | add one, or remove `merge`
        E015 5:27 `inputs` takes paths within the workspace, not `/etc/*` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `target/*.jar`
        E015 5:46 `paths` takes paths within the workspace, not `/workspace/dist/*` | write `dist/*`
        E015 5:83 `junit` takes paths within the workspace, not `../a` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `target/*.jar`
        E012 5:98 `merge` takes `last` or a list, not a map | write `last`, or for example `["target/**"]`
        E015 6:27 `inputs` takes patterns of files, not `dist/` | all files of a directory are `dist/**`
        E015 6:46 `paths` is no pattern: `{a` | `{` is not closed; for example `release/*`
        E015 6:52 `paths` takes patterns of files, not `.` | all files are `**`
        E015 6:55 `paths` takes paths within the workspace, not `~/x` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `target/*.jar`
        E012 6:79 `junit` has no pattern | add one, or remove `junit`
        E010 6:83 unknown key `cobertura` in `reports` of stage `d`
        E015 7:49 `name` is no name of an artifact: `a/b` | a name has letters, digits, `.`, `-` and `_`; `slug(…)` makes one of any text
        E015 7:61 `expire` takes a duration longer than zero, not `0s` | for example `20m`
        E015 7:69 `on` is no result after which artifacts are stored: `failed` | did you mean `failure`? results are `success`, `failure`, `always`
        E015 8:48 `name` is no name of an artifact: `.a` | it has 1 to 128 characters and does not begin with `.`
        E012 8:60 `expire` takes a duration, and a number alone has no unit | write `30m` or `30s`
        "##,
    );
}
