//! A template by itself, before anybody uses it.

use super::*;
use crate::{AboutTemplate, check_template};

fn opened(text: &str) -> (Option<AboutTemplate>, Diagnostics) {
    let files = TestFiles(&[(
        "base",
        "1.2",
        "params: { jdk: { type: int, required: true } }\nimage: 'jdk:${{ params.jdk }}'\npolicy: { scan: locked }\nstages: { scan: { description: Looks, run: scan } }",
    )]);
    let (document, mut diagnostics) = parse(&SourceFile::new(".shipline.yml", flush(text)));
    let (about, more) = check_template(&document, &files);
    diagnostics.extend(more);
    (about, diagnostics)
}

fn said(text: &str) -> String {
    lines(&opened(text).1)
}

#[test]
fn a_template_is_checked_whatever_its_parameters_will_be() {
    assert_eq!(
        said(
            "
            description: Builds
            params:
              image: { type: string, required: true, description: Where it goes }
              reports: { type: string, description: Where reports are }
              replicas: { type: int, default: 2, description: How many }
            image: debian:12
            stages:
              compile: { run: make, reports: { junit: '${{ params.reports }}' } }
              image: { build: { tags: ['${{ params.image }}:${{ git.sha_short }}'] } }
              deploy:
                timeout: 5m
                deploy: { environment: demo, image: image, replicas: '${{ params.replicas }}' }
            "
        ),
        ""
    );
    assert_eq!(
        said(
            "
            description: Builds
            params: { jdk: { type: int, default: 0, description: The JDK } }
            image: 'jdk:${{ params.jkd }}'
            stages: { a: { rnu: make, timeout: '${{ params.jdk }}' }, b: { needs: [c], run: make } }
            "
        ),
        "E041 3:17 unknown name `params.jkd` | did you mean `params.jdk`?\n\
         E010 4:16 unknown key `rnu` in stage `a` | did you mean `run`?\n\
         E015 4:36 `timeout` takes a duration longer than zero, not `0` | for example `20m`\n\
         E020 4:72 stage `b` needs `c`, which is not a stage"
    );
}

#[test]
fn w075_and_w076_what_nobody_reads_or_describes_is_told() {
    assert_eq!(
        said(
            "
            params:
              a: { type: int, default: 1 }
              b: { type: int, default: 1, description: Not read }
              c-d: { type: bool, default: true, description: Read by a condition }
            image: 'x:${{ params.a }}'
            stages: { a: { run: make, when: { if: \"params['c-d']\" } } }
            "
        ),
        "W076 1:1 the template has no `description` | add one sentence: what it is for\n\
         W076 2:3 parameter `a` has no `description` | say what it is for, in half a sentence\n\
         W075 3:3 nothing reads the parameter `b` | read it as `${{ params.b }}`, or remove it"
    );
}

#[test]
fn a_policy_about_nothing_is_told() {
    assert_eq!(
        said(
            "
            description: Builds
            image: debian:12
            policy: { scna: locked, scan: [envv, off, run], '*': any }
            stages: { scan: ./scan }
            "
        ),
        "E010 3:25 `policy` allows `envv`, which is no key of a stage | did you mean `env`?\n\
         E020 3:11 `policy` is about stage `scna`, which is not a stage | did you mean `scan`?"
            .lines()
            .rev()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn what_there_is_to_know_of_a_template_includes_those_below_it() {
    let (about, found) = opened(
        "
        description: Java
        template: base@1
        with: { jdk: '${{ params.jdk }}' }
        params: { jdk: { type: enum, values: [17, 21], default: 21, description: The JDK } }
        policy: { '*': [env] }
        stages: { compile: mvn package }
        ",
    );
    assert!(found.is_empty(), "{found}");
    let about = about.unwrap();
    assert_eq!(about.description.as_deref(), Some("Java"));
    assert_eq!(about.templates, ["base@1.2"]);
    let jdk = &about.params[0];
    assert_eq!((jdk.takes.as_str(), jdk.default_text().as_str()), ("one of `17`, `21`", "21"));
    let stages: Vec<_> = about
        .stages
        .iter()
        .map(|stage| (stage.name.as_str(), stage.action.as_deref(), stage.may_change.as_deref()))
        .collect();
    assert_eq!(
        stages,
        [("scan", Some("run"), Some("nothing")), ("compile", Some("run"), Some("env"))]
    );
}

#[test]
fn the_bundled_templates_have_nothing_to_be_said_of() {
    for (name, versions) in Bundled::all() {
        for version in versions {
            let reference = TemplateReference::Named { name: name.clone(), version };
            let template = Bundled.find(&reference).unwrap();
            let (document, mut found) = parse(&template.source);
            found.extend(check_template(&document, &Bundled).1);
            assert!(found.is_empty(), "{found}");
        }
    }
}
