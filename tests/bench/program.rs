//! A C program that is compiled and tested, from a commit; and once more with nothing changed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::lab::Lab;
use crate::measure::{Contestant, call, interleave, process};
use crate::peers;
use crate::table::{Goal, OWN, Table};

const IMAGE: &str = "shipline/c:12";
const UNITS: usize = 40;
const FUNCTIONS: usize = 60;
const TURNS: usize = 5;

pub fn compile(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let there = Command::new("docker").args(["image", "inspect", IMAGE]).output()?;
    if !there.status.success() {
        eprintln!("bench: W6 is left out: there is no {IMAGE}; `make runner-images` makes it");
        return Ok(());
    }
    let (plain, reusing) =
        (repository(lab, "program", "")?, repository(lab, "program-again", INPUTS)?);
    let own = || lab.run(&plain, &[]);
    let docker = || {
        let place = lab.path("clone");
        let compiled = call(|| {
            let (from, to) = (plain.display().to_string(), place.display().to_string());
            process(Command::new("git").args(["clone", "--quiet", &from, &to]))?;
            let mount = format!("{to}:/work");
            let mut docker = Command::new("docker");
            docker.args(["run", "--rm", "-v", &mount, "-w", "/work", IMAGE]);
            process(docker.args(["sh", "-ec", "make -j2\nmake test"])).map(drop)
        });
        fs::remove_dir_all(place)?;
        compiled
    };
    lab.run(&reusing, &[])?;
    let again = || lab.run(&reusing, &[]);
    let mut contestants = vec![
        Contestant::new(OWN, TURNS, own),
        Contestant::new("`docker run`", TURNS, docker),
        Contestant::new("again", TURNS, again),
    ];
    contestants.extend(peers::act(lab, &plain, IMAGE, 4, 2));
    contestants.extend(peers::gitlab(&plain, 4, 2));
    interleave(&mut contestants);
    let mut contestants =
        contestants.into_iter().map(Contestant::over).collect::<io::Result<Vec<_>>>()?;
    let mut again = contestants.remove(2);
    again.name = OWN;
    let own = contestants[0].median().unwrap_or_default();
    let goals = [Goal::ratio(own, contestants[1].median(), 1.05, "clone and `docker run`")];
    table.add("W6: a C program compiled and tested", &contestants, &goals);
    let unchanged = again.median().unwrap_or_default();
    let goals = [Goal::ratio(unchanged, Some(own), 0.1, "the first run")];
    table.add("W6 again, nothing changed", &[again], &goals);
    Ok(())
}

const INPUTS: &str = "    inputs: [Makefile, \"src/**\"]\n";

fn repository(lab: &Lab, name: &str, inputs: &str) -> io::Result<PathBuf> {
    let pipeline =
        format!("image: {IMAGE}\nstages:\n  program:\n    run: [make -j2, make test]\n{inputs}");
    let workflow = "on: push\njobs:\n  program:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - { shell: sh, run: 'cp -r \"$GITHUB_WORKSPACE\" /tmp/w && cd /tmp/w && make -j2 && make test' }\n";
    let gitlab = format!("program: {{ image: \"{IMAGE}\", script: [make -j2, make test] }}\n");
    let mut files = vec![
        (".shipline.yml".to_owned(), pipeline),
        (".github/workflows/run.yml".to_owned(), workflow.to_owned()),
        (".gitlab-ci.yml".to_owned(), gitlab),
        (".gitignore".to_owned(), ".gitlab-ci-local\n*.o\nprogram\n".to_owned()),
        ("Makefile".to_owned(), makefile()),
        ("src/main.c".to_owned(), main_unit()),
    ];
    files.extend((0..UNITS).map(|number| (format!("src/unit{number}.c"), unit(number))));
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    lab.repository(name, &files)
}

fn makefile() -> String {
    let objects: Vec<String> = (0..UNITS).map(|number| format!("src/unit{number}.o")).collect();
    format!(
        "CFLAGS = -O2 -Wall\nOBJECTS = src/main.o {}\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n\
         .PHONY: test\ntest: program\n\t./program\n",
        objects.join(" ")
    )
}

/// Exits with 0 if all units agree.
fn main_unit() -> String {
    let mut text = String::new();
    for number in 0..UNITS {
        let _ = writeln!(text, "unsigned unit{number}(unsigned);");
    }
    text.push_str("int main(void) {\n    unsigned all = 0;\n");
    for number in 0..UNITS {
        let _ = writeln!(text, "    all |= unit{number}(7) ^ unit0(7);");
    }
    text.push_str("    return all != 0;\n}\n");
    text
}

fn unit(number: usize) -> String {
    let mut text = String::new();
    for function in 0..FUNCTIONS {
        let _ = writeln!(
            text,
            "static unsigned f{function}(unsigned x) {{\n    for (unsigned i = 0; i < 32; i++) {{\n        \
             x = (x << 5 | x >> 27) ^ (x * {}u + i);\n        if (x % 7 == {}) x += i * i;\n    }}\n    \
             return x;\n}}",
            2 * function + 1,
            function % 7
        );
    }
    let _ = writeln!(text, "unsigned unit{number}(unsigned x) {{");
    for function in 0..FUNCTIONS {
        let _ = writeln!(text, "    x = f{function}(x);");
    }
    text.push_str("    return x;\n}\n");
    text
}
