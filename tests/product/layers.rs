//! Workspaces of many stages, and of many files.

use crate::harness::lab::Lab;
use crate::local_run::{assert_gapless, output_of, repository, result_of};

/// Sixty stages in a row, each on what all before it made: longer than one mount may be.
#[test]
fn a_chain_of_sixty_stages_is_one_workspace() {
    let lab = Lab::new();
    let mut pipeline = "image: busybox:1\nstages:\n".to_owned();
    for number in 1..=60 {
        // Each adds a file and a line, removes one of another, and moves a directory on.
        let before = number - 1;
        pipeline.push_str(&format!(
            "  s{number}: 'echo {number} >f{number}; echo {number} >>log; rm -f f{}; \
             if [ -d d{before} ]; then mv d{before} d{number}; else mkdir d{number}; fi; \
             echo {number} >d{number}/in{number}'\n",
            number - 10,
        ));
    }
    pipeline
        .push_str("  end: 'ls f* | wc -l; wc -l <log; ls -d d*; ls d60 | wc -l; head -n 1 log'\n");
    let folder = repository(&lab, &pipeline);
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(0).lines();
    assert_gapless(&lines);
    assert_eq!(output_of(&lines, "end"), "10\n60\nd60\n60\n1\n");
}

/// Eight parallel stages over one base, joined: what each deleted, renamed, linked and
/// made executable is so for the one that needs them all.
#[test]
fn eight_parallel_stages_are_joined() {
    let lab = Lab::new();
    let mut pipeline = "image: busybox:1\nstages:\n  base: |\n    \
        for n in 1 2 3 4 5 6 7 8; do mkdir -p dir$n/sub; echo $n >dir$n/sub/file; echo $n >gone$n; \
        echo $n >mode$n; ln -s mode$n link$n; done\n"
        .to_owned();
    for n in 1..=8 {
        pipeline.push_str(&format!(
            "  p{n}:\n    needs: [base]\n    run: |\n      mv dir{n} moved{n}; rm gone{n}; \
             chmod 751 mode{n}; ln -sf nowhere link{n}; rm -rf shared; mkdir shared; \
             echo same >shared/file; mkfifo pipe{n}; ln moved{n}/sub/file hard{n}\n",
        ));
    }
    pipeline.push_str(
        "  join:\n    needs: [p1, p2, p3, p4, p5, p6, p7, p8]\n    merge: [\"shared/**\", shared]\n    run: |\n      \
         ls -d dir* gone* 2>/dev/null | wc -l\n      cat moved?/sub/file | tr -d '\\n'; echo\n      \
         stat -c %a mode? | sort -u\n      for n in 1 2 3 4 5 6 7 8; do readlink link$n; done | sort -u\n      cat shared/file\n      \
         ls pipe? | wc -l\n      stat -c %h hard1\n",
    );
    let folder = repository(&lab, &pipeline);
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(0).lines();
    assert_eq!(output_of(&lines, "join"), "0\n12345678\n751\nnowhere\nsame\n8\n2\n");
}

/// A hundred thousand small files: made, changed in parallel, joined, looked at.
#[test]
fn a_hundred_thousand_small_files_are_a_layer_like_any_other() {
    let lab = Lab::new();
    let pipeline = "image: busybox:1
stages:
  make: |
    for d in $(seq 0 99); do mkdir -p tree/$d; done
    awk 'BEGIN { for (i = 0; i < 100000; i++) { f = \"tree/\" i % 100 \"/\" i; print i >f; close(f) } }'
  change: { needs: [make], run: 'for d in $(seq 0 49); do echo changed >tree/$d/$d; done' }
  remove: { needs: [make], run: 'rm -rf tree/99; rm tree/98/*8' }
  look:
    needs: [change, remove]
    run: [find tree -type f | wc -l, cat tree/7/7 tree/7/107]
";
    let folder = repository(&lab, pipeline);
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(0).lines();
    // 99 and what ends in 98 are a hundredth each.
    assert_eq!(output_of(&lines, "look"), "98000\nchanged\n107\n");
    let diff = lab.run(&folder, &["diff", "remove"]).expect(0).stdout;
    assert!(
        diff.ends_with("0 added, 0 modified, 2001 deleted\n"),
        "{}",
        diff.lines().last().unwrap_or("")
    );
    let again = lab.run(&folder, &["run", "--only", "look", "--format", "json"]).expect(0).lines();
    assert_eq!(result_of(&again, "make"), "unchanged");
    assert_eq!(output_of(&again, "look"), "98000\nchanged\n107\n");
}
