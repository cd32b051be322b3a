//! Containers of stages: output, exits, limits, stopping, images.

use std::process::Command;
use std::time::{Duration, Instant};

use event::OutputStream;
use futures_util::StreamExt;
use pipeline::{Resources, Shell};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, IMAGE, RegistryServer, other_run, tree};
use crate::Workspace;
use crate::backend::docker::{clean, image, init, labels};
use crate::backend::{Backend, BackendError, contract};

#[tokio::test]
async fn the_contract_of_a_backend_is_kept() {
    let bench = Bench::with(&[("a", "1")]).await;
    contract::output_and_exit_are_the_commands(&bench.backend, &bench.run, IMAGE).await;
    contract::a_listening_attempt_ends_at_once(&bench.backend, &bench.run, IMAGE).await;
    contract::a_stubborn_attempt_is_killed(&bench.backend, &bench.run, IMAGE).await;
    contract::caches_are_kept_and_restored(&bench.backend, &bench.run, IMAGE).await;
    contract::an_untrusted_run_reads_the_caches_of_its_project(&bench.backend, &bench.run, IMAGE)
        .await;
    contract::a_workspace_is_read_before_and_after(&bench.backend, &bench.run, IMAGE).await;
    contract::kept_layers_are_stood_on(&bench.backend, &bench.run, IMAGE).await;
    contract::services_run_beside_their_stage(&bench.backend, &bench.run, IMAGE).await;
    contract::a_service_that_fails_is_told(&bench.backend, &bench.run, IMAGE).await;
    contract::a_check_is_run_to_its_end(&bench.backend, &bench.run.instance, IMAGE).await;
    contract::secrets_are_of_their_attempt_alone(&bench.backend, &bench.run, IMAGE).await;
    contract::outputs_come_back_as_they_were_written(&bench.backend, &bench.run, IMAGE).await;
    contract::limits_are_told_with_the_end(&bench.backend, &bench.run, IMAGE).await;
    contract::a_cache_over_a_file_is_refused(&bench.backend, &bench.run, IMAGE).await;
    contract::parallel_layers_are_joined_or_refused(&bench.backend, &bench.run, IMAGE).await;
    let server = RegistryServer::start();
    let (backend, run, registry) = (&bench.backend, &bench.run, &server.registry);
    contract::images_are_built_and_pushed(backend, run, IMAGE, registry).await;
    contract::cleaning_up_works_at_any_time(&bench.backend, &bench.run, IMAGE).await;
}

#[tokio::test]
async fn commands_are_echoed_and_the_last_line_needs_no_newline() {
    let bench = Bench::with(&[("greeting", "hello")]).await;
    let ran =
        bench.stage(1, &[0], &["cd /tmp", "pwd", "cat /workspace/greeting\nprintf end"]).await;
    assert_eq!(
        ran.all(),
        "$ cd /tmp\n$ pwd\n/tmp\n$ cat /workspace/greeting\n  printf end\nhelloend"
    );
    assert_eq!(ran.exit.code, 0);
    assert!(
        ran.image_digest.unwrap().starts_with("id:sha256:"),
        "busybox was imported, not pulled"
    );
}

#[tokio::test]
async fn exit_codes_are_those_of_the_commands() {
    let bench = Bench::with(&[]).await;
    for (index, (command, code)) in [
        ("true", 0),
        ("exit 1", 1),
        ("exit 2", 2),
        ("touch f; ./f", 126),
        ("no-such-command", 127),
        ("kill -INT $$", 130),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
        ("kill -TERM $$", 143),
        ("exit 255", 255),
    ]
    .into_iter()
    .enumerate()
    {
        let index = u32::try_from(index).unwrap() + 1;
        let ran = bench.stage(index, &[0], &[command]).await;
        let exit = (ran.exit.code, ran.exit.oom_killed, ran.exit.lost);
        assert_eq!(exit, (code, false, None), "{command}");
    }
}

#[tokio::test]
async fn binary_output_arrives_exactly() {
    let bench = Bench::with(&[]).await;
    // 300 lines of all bytes, some without meaning in any text.
    let command = "i=0; while [ $i -lt 300 ]; do printf '\\001\\002\\000\\377\\200 %d\\n' $i; i=$((i+1)); done";
    let ran = bench.stage(1, &[0], &[command, "cat /bin/busybox >&2"]).await;
    let expected: Vec<u8> = (0..300)
        .flat_map(|line| [b"\x01\x02\x00\xff\x80 ", line.to_string().as_bytes(), b"\n"].concat())
        .collect();
    assert!(ran.bytes(OutputStream::Stdout) == expected);
    let busybox = Command::new("docker")
        .args(["run", "--rm", "--network=none", IMAGE, "cat", "/bin/busybox"])
        .output();
    assert!(ran.bytes(OutputStream::Stderr) == busybox.unwrap().stdout);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let bench = Bench::with(&[]).await;
    let attempt = bench.attempt(1, &["yes 0123456789 | head -c 8000000"]);
    let handle =
        bench.backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    let mut output = handle.output();
    let slow = async {
        let mut count = 0;
        let mut pieces = 0;
        while let Some(chunk) = output.next().await {
            let chunk = chunk.unwrap();
            count += if chunk.stream == OutputStream::Stdout { chunk.bytes.len() } else { 0 };
            pieces += 1;
            if pieces % 64 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        count
    };
    let (count, exit) = tokio::join!(slow, handle.wait());
    assert_eq!((count, exit.unwrap().code), (8_000_000, 0));
}

#[tokio::test]
async fn term_reaches_the_whole_tree() {
    let bench = Bench::with(&[]).await;
    // One child in the group, one that has left it.
    let commands = [
        "sleep 600 & setsid sh -c 'trap \"echo heard; exit 0\" TERM; echo up; sleep 600 & wait' & wait",
    ];
    let attempt = bench.attempt(1, &commands);
    let handle =
        bench.backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    let mut output = handle.output();
    let mut text = String::new();
    while !text.contains("up\n") {
        let chunk = output.next().await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk.bytes));
    }
    let begun = Instant::now();
    let rest = async {
        while let Some(chunk) = output.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap().bytes));
        }
    };
    let (stopped, exit, ()) =
        tokio::join!(handle.stop(Duration::from_secs(10)), handle.wait(), rest);
    stopped.unwrap();
    assert_eq!(exit.unwrap().code, 143);
    assert!(begun.elapsed() < Duration::from_secs(10), "within the grace");
}

#[tokio::test]
async fn a_stage_has_few_rights_and_a_tmp_that_executes() {
    let bench = Bench::with(&[]).await;
    let commands = [
        "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status",
        "cp /bin/true /tmp/true; /tmp/true && echo executes",
        "id -u; umask; stat -c %a /workspace",
        "(echo forged >/proc/1/fd/1) 2>/dev/null || echo closed",
        "touch /.shipline/x 2>/dev/null || echo read-only",
        "cat /proc/1/comm; mount -t tmpfs none /mnt 2>/dev/null || echo no mount",
        "echo $CI-$SHIPLINE_OUTPUT",
    ];
    let ran = bench.stage(1, &[0], &commands).await;
    assert_eq!(
        ran.stdout(),
        "CapEff:\t00000000000404fb\nNoNewPrivs:\t1\nSeccomp:\t2\nexecutes\n0\n0000\n777\nclosed\nread-only\n\
         shipline-init\nno mount\ntrue-/run/shipline/output\n"
    );
}

#[tokio::test]
async fn nothing_of_a_stage_is_in_the_containers_configuration() {
    let bench = Bench::with(&[]).await;
    let mut attempt = bench.attempt(1, &["echo $TOKEN; echo v=1 >>$SHIPLINE_OUTPUT"]);
    attempt.env.insert("TOKEN".to_owned(), "canary-4711".to_owned());
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!((ran.stdout().as_str(), &ran.exit.outputs[..]), ("canary-4711\n", &b"v=1\n"[..]));
    let shown = Command::new("docker").args(["inspect", &attempt.name]).output().unwrap().stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("shipline.spec") && !shown.contains("canary-4711"));
}

#[tokio::test]
async fn a_name_of_a_former_life_is_taken_over_and_a_foreign_one_is_not() {
    let bench = Bench::with(&[]).await;
    let attempt = bench.attempt(1, &["echo again"]);
    for _ in 0..2 {
        assert_eq!(bench.run_attempt(&attempt).await.unwrap().stdout(), "again\n");
    }
    let mut foreign = bench.attempt(2, &["echo never"]);
    foreign.name = format!("foreign-{}", bench.run.instance);
    let of_others = format!("shipline.instance=other-{}", bench.run.instance);
    let create = ["create", "--name", &foreign.name, "--label", &of_others, IMAGE, "true"];
    assert!(Command::new("docker").args(create).output().unwrap().status.success());
    let started = bench.run_attempt(&foreign).await;
    let found = Command::new("docker").args(["rm", &foreign.name]).output().unwrap();
    let Err(error) = started else { panic!("the name belongs to somebody else") };
    assert!(matches!(error, BackendError::Infrastructure { .. }), "{error}");
    assert!(found.status.success(), "the foreign container is untouched");
}

#[tokio::test]
async fn a_container_removed_from_outside_is_lost() {
    let bench = Bench::with(&[]).await;
    let attempt = bench.attempt(1, &["echo up; sleep 600"]);
    let handle =
        bench.backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    let mut output = handle.output();
    let begun = Instant::now();
    let remove = async {
        tokio::process::Command::new("docker").args(["rm", "-f", &attempt.name]).output().await
    };
    let (exit, removed, ()) =
        tokio::join!(handle.wait(), remove, async { while output.next().await.is_some() {} });
    removed.unwrap();
    assert_eq!(exit.unwrap().lost.as_deref(), Some("the container was removed from outside"));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_image_the_registry_does_not_have_is_the_users() {
    let bench = Bench::with(&[]).await;
    let server = RegistryServer::start();
    let mut attempt = bench.attempt(1, &["true"]);
    attempt.image = format!("{}/team/nothing:1", server.registry.host);
    attempt.registry = Some(server.registry.clone());
    let begun = Instant::now();
    let Err(BackendError::User { code, message }) = bench.run_attempt(&attempt).await else {
        panic!("the image is not there");
    };
    assert_eq!(code, Some("E090"));
    assert!(
        message.starts_with(&format!("image `{}` cannot be used (as `ci` at ", attempt.image)),
        "{message}"
    );
    assert!(message.contains("manifest unknown"), "{message}");

    attempt.name.push('b');
    attempt.registry.as_mut().unwrap().password = "wrong".to_owned();
    let Err(BackendError::User { code, message }) = bench.run_attempt(&attempt).await else {
        panic!("the password is wrong");
    };
    assert_eq!(code, Some("E090"));
    assert!(!message.contains("wrong"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(5), "without trying again");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_tried_again_until_cancelled() {
    let bench = Bench::with(&[]).await;
    let engine = &bench.backend.engine;
    let cancel = CancellationToken::new();
    let pulling =
        image::ensure(engine, &bench.backend.pulls, "127.0.0.1:1/a:1", None, false, &cancel);
    let mut pulling = std::pin::pin!(pulling);
    let early = tokio::time::timeout(Duration::from_millis(900), &mut pulling).await;
    assert!(early.is_err(), "the first pause is a second");
    cancel.cancel();
    assert!(matches!(pulling.await, Err(BackendError::Cancelled)));
}

#[tokio::test]
async fn starting_under_a_cancelled_token_starts_nothing() {
    let bench = Bench::with(&[]).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let started = bench.backend.start(&bench.run, &bench.attempt(1, &["true"]), &cancel).await;
    assert!(matches!(started.err(), Some(BackendError::Cancelled)));
    bench.backend.clean(&bench.run).await.unwrap();
    assert_eq!(bench.objects().await, [""; 0]);
}

#[tokio::test]
async fn what_was_delivered_and_taken_away_is_brought_again() {
    let bench = Bench::with(&[]).await;
    // As `docker system prune` does; in use by nobody, since tests take turns.
    let docker = |arguments: &[&str]| Command::new("docker").args(arguments).output().unwrap();
    if !docker(&["volume", "rm", &init::volume()]).status.success() {
        // Another process of ours uses it: then it is not pruned either.
        return;
    }
    let listed =
        docker(&["images", "--quiet", "--filter", "reference=localhost/shipline-init"]).stdout;
    for image in String::from_utf8(listed).unwrap().split_whitespace() {
        docker(&["rmi", "--force", image]);
    }
    assert_eq!(bench.stage(1, &[0], &["echo back"]).await.stdout(), "back\n");
    let files = tree(&[("a", "1")]);
    let again = Workspace::Tree(files.path().to_owned());
    bench.check_out(bench.layer(2), &again).await.unwrap();
    let shown =
        docker(&["volume", "inspect", "--format", "{{json .Labels}}", &init::volume()]).stdout;
    assert!(String::from_utf8(shown).unwrap().contains("helper"), "as it was delivered first");
}

#[tokio::test]
async fn cleaning_up_leaves_nothing_but_what_is_kept() {
    let mut bench = Bench::with(&[("a", "1")]).await;
    bench.stage(1, &[0], &["echo 2 >b"]).await;
    bench.backend.clean(&bench.run).await.unwrap();
    assert_eq!(bench.objects().await, [""; 0]);

    bench.run = contract::context(&bench.run.instance);
    bench.run.keep_layers = true;
    bench.backend.prepare(&bench.run).await.unwrap();
    let files = tree(&[("a", "1")]);
    bench.check_out(bench.layer(0), &Workspace::Tree(files.path().to_owned())).await.unwrap();
    bench.stage(1, &[0], &["echo 2 >b"]).await;
    bench.backend.clean(&bench.run).await.unwrap();
    let short = bench.run.run.short();
    assert_eq!(
        bench.objects().await,
        [format!("Volume sl-{short}-0u"), format!("Volume sl-{short}-1u")]
    );

    assert_eq!(
        bench.backend.sweep(&bench.run.instance, &[]).await.unwrap(),
        0,
        "kept is no leftover"
    );
    let kept = bench.backend.kept(&bench.run.instance).await.unwrap();
    let told: Vec<_> = kept.iter().filter_map(|kept| kept.stage.as_deref()).collect();
    assert_eq!(told.len(), 2);
    let instance = bench.run.instance.clone();
    assert_eq!(bench.backend.remove_kept(&instance, &[bench.run.run], true).await.unwrap(), 0);
    assert_eq!(bench.backend.remove_kept(&instance, &[], false).await.unwrap(), 2);
    assert_eq!(bench.objects().await, [""; 0]);
}

#[tokio::test]
async fn a_sweep_takes_what_ended_runs_left_and_nothing_else() {
    let bench = Bench::with(&[]).await;
    let attempt = bench.attempt(1, &["sleep 600"]);
    let _running =
        bench.backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    let before = bench.objects().await;
    let instance = &bench.run.instance;
    assert_eq!(bench.backend.sweep(instance, &[bench.run.run]).await.unwrap(), 0);
    assert_eq!(bench.backend.sweep("another", &[]).await.unwrap(), 0);
    assert_eq!(bench.objects().await, before);

    // A leftover of a process that lives is no leftover; PID 1 stands for it.
    let stat = std::fs::read_to_string("/proc/1/stat").unwrap();
    let started = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
    let run = other_run().to_string();
    for (name, owner) in [("a", format!("1:{started}")), ("d", "1:0".to_owned())] {
        let volume = format!("{instance}-{name}");
        let mut create = Command::new("docker");
        create.args(["volume", "create", &volume]);
        for (label, value) in
            [(labels::INSTANCE, instance.as_str()), (labels::RUN, &run), (labels::OWNER, &owner)]
        {
            create.arg("--label").arg(format!("{label}={value}"));
        }
        assert!(create.output().unwrap().status.success());
    }
    assert_eq!(bench.backend.sweep(instance, &[bench.run.run]).await.unwrap(), 1);
    let left = clean::list(&bench.backend.engine, &[(labels::RUN, &run)]).await.unwrap();
    assert_eq!(
        left.iter().map(|object| &object.id).collect::<Vec<_>>(),
        [&format!("{instance}-a")]
    );
    assert!(
        bench.backend.sweep(instance, &[]).await.unwrap() >= 3,
        "the run itself, once it has ended"
    );
}

#[tokio::test]
async fn a_stage_runs_as_the_user_and_in_the_directory_it_says() {
    let bench = Bench::with(&[("web/page", "hello")]).await;
    let mut attempt = bench.attempt(
        1,
        &["id -u", "id -g", "pwd", "cat page", "echo v=1 >>$SHIPLINE_OUTPUT; touch mine"],
    );
    attempt.user = Some("1000:100".to_owned());
    attempt.workdir = "/workspace/web".to_owned();
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!(ran.stdout(), "1000\n100\n/workspace/web\nhello", "{}", ran.all());
    assert_eq!((ran.exit.code, &ran.exit.outputs[..]), (0, &b"v=1\n"[..]));

    let mut stranger = bench.attempt(2, &["id"]);
    stranger.user = Some("stranger".to_owned());
    let ran = bench.run_attempt(&stranger).await.unwrap();
    assert_eq!(ran.exit.code, 126);
    assert!(ran.all().contains("user `stranger` is not in the image"), "{}", ran.all());

    let mut lost = bench.attempt(3, &["pwd"]);
    lost.workdir = "/workspace/none".to_owned();
    let ran = bench.run_attempt(&lost).await.unwrap();
    assert!(ran.all().contains("the working directory `/workspace/none` does not exist"));
}

#[tokio::test]
async fn a_shell_that_is_written_out_gets_all_commands_as_its_last_argument() {
    let bench = Bench::with(&[]).await;
    let mut attempt = bench.attempt(1, &["BEGIN { print \"one\" ;", "print \"two\" }"]);
    attempt.shell = Shell::Command(vec!["awk".to_owned()]);
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!(ran.all(), "$ BEGIN { print \"one\" ;\n  print \"two\" }\none\ntwo\n");

    let mut bash = bench.attempt(2, &["true"]);
    bash.shell = Shell::Bash;
    let ran = bench.run_attempt(&bash).await.unwrap();
    assert_eq!(ran.exit.code, 127);
    assert!(ran.all().contains("`bash` is not in the image"), "{}", ran.all());
}

#[tokio::test]
async fn bash_fails_with_any_part_of_a_pipe() {
    let bench = Bench::with(&[]).await;
    let mut attempt =
        bench.attempt(1, &["shopt -q login_shell || echo bash", "false | cat", "echo never"]);
    attempt.image = "debian:12".to_owned();
    attempt.shell = Shell::Bash;
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!((ran.stdout().as_str(), ran.exit.code), ("bash\n", 1), "{}", ran.all());
}

#[tokio::test]
async fn a_stage_has_the_resources_it_asks_for() {
    let bench = Bench::with(&[]).await;
    let mut attempt = bench.attempt(1, &["true"]);
    attempt.resources = Resources { cpu: Some(0.5), memory: Some(64 << 20), pids: Some(33) };
    bench.run_attempt(&attempt).await.unwrap();
    let limits = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}";
    let shown =
        Command::new("docker").args(["inspect", "--format", limits, &attempt.name]).output();
    assert_eq!(String::from_utf8(shown.unwrap().stdout).unwrap(), "500000000 67108864 33\n");
}

#[tokio::test]
async fn an_image_is_pulled_again_where_the_stage_wants_that() {
    let bench = Bench::with(&[]).await;
    // The engine has it, and no registry does: only a pull can fail.
    let local = format!("127.0.0.1:1/{}:1", bench.run.instance);
    let tag = |arguments: &[&str]| Command::new("docker").args(arguments).output().unwrap();
    assert!(tag(&["tag", IMAGE, &local]).status.success());
    let mut attempt = bench.attempt(1, &["echo ran"]);
    attempt.image = local.clone();
    let ran = bench.run_attempt(&attempt).await;
    attempt.pull = true;
    let cancel = CancellationToken::new();
    let pulling = bench.backend.start(&bench.run, &attempt, &cancel);
    let waiting = tokio::time::timeout(Duration::from_secs(2), pulling).await;
    tag(&["rmi", &local]);
    assert_eq!(ran.unwrap().stdout(), "ran\n");
    assert!(!matches!(waiting, Ok(Ok(_))), "it was started without a pull");
}

#[tokio::test]
async fn a_secret_is_in_memory_and_in_nothing_that_the_engine_shows() {
    let bench = Bench::with(&[]).await;
    let commands = [
        "echo $TOKEN",
        "cat /run/secrets/KEY",
        "stat -c ' %a %U' /run/secrets/KEY",
        "ls /run/secrets",
        "grep -c '/run/secrets tmpfs' /proc/mounts",
        "sleep 600",
    ];
    let mut attempt = bench.attempt(1, &commands);
    let secret = |name: &str, value: &str, env: Option<&str>| crate::backend::SecretSpec {
        name: name.to_owned(),
        value: value.to_owned(),
        env: env.map(str::to_owned),
    };
    attempt.secrets =
        vec![secret("T", "swordfish", Some("TOKEN")), secret("KEY", "line 1\nline 2", None)];
    let handle =
        bench.backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    let mut output = handle.output();
    let mut said = String::new();
    while !said.ends_with("1\n") || !said.contains("400 root") {
        let chunk = output.next().await.expect("it says more").unwrap();
        if chunk.stream == OutputStream::Stdout {
            said.push_str(&String::from_utf8_lossy(&chunk.bytes));
        }
    }
    assert_eq!(said, "swordfish\nline 1\nline 2 400 root\nKEY\n1\n");
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = docker(&["inspect", &attempt.name]) + &docker(&["top", &attempt.name]);
    assert!(!shown.contains("swordfish") && !shown.contains("line 1"), "{shown}");
    let diff = docker(&["diff", &attempt.name]);
    assert!(!diff.contains("KEY"), "{diff}");
    drop(output);
    let ended = tokio::join!(handle.wait(), handle.stop(Duration::ZERO));
    ended.1.unwrap();
}

#[tokio::test]
async fn the_end_is_told_before_the_engine_tells_it_and_nothing_of_the_stage_runs_then() {
    let bench = Bench::with(&[]).await;
    // Some are in the background, one has left the group and holds no output.
    let command = "sleep 600 & setsid sh -c 'trap \"\" TERM; while :; do echo x >>/workspace/f; done' \
        >/dev/null 2>&1 & sleep 0.3; exit 4";
    let attempt = bench.attempt(1, &[command]);
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!((ran.exit.code, ran.exit.oom_killed, ran.exit.lost), (4, false, None));
    let path = format!(
        "{}/volumes/{}/_data/f",
        bench.backend.engine.root,
        labels::volume(attempt.layer, labels::Part::Upper)
    );
    let size = || std::fs::metadata(&path).unwrap().len();
    let at_once = size();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(at_once > 0);
    assert_eq!(at_once, size(), "something writes on");
}

#[tokio::test]
async fn a_process_from_outside_ends_before_the_stage_is_said_to_have_ended() {
    let bench = Bench::with(&[]).await;
    let attempt = bench.attempt(1, &["while ! [ -e go ]; do sleep 0.05; done"]);
    let handle =
        bench.backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    let script = "touch go; while :; do echo x >>f; done";
    let mut outside =
        Command::new("docker").args(["exec", &attempt.name, "sh", "-c", script]).spawn().unwrap();
    assert_eq!(bench.collect(handle.as_ref()).await.unwrap().exit.code, 0);
    let path = format!(
        "{}/volumes/{}/_data/f",
        bench.backend.engine.root,
        labels::volume(attempt.layer, labels::Part::Upper)
    );
    let size = || std::fs::metadata(&path).map_or(0, |found| found.len());
    let at_once = size();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(at_once, size(), "something writes on");
    assert!(!outside.wait().unwrap().success());
}
