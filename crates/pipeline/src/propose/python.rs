//! Python: requirements.txt, or a project.

use serde_json::json;

use super::Draft;
use super::docker;
use super::listing::Folder;

const FILES: [&str; 4] = ["pyproject.toml", "requirements.txt", "setup.py", "setup.cfg"];

pub(super) fn python(here: &Folder<'_>) -> Option<Draft> {
    let file = here.one_of(&FILES)?;
    let mut draft = Draft::new("python-service", format!("`{file}` is a project of Python"));
    if !here.has("requirements.txt") && file != "requirements.txt" {
        let command = "pip install --disable-pip-version-check --root-user-action=ignore --target .packages . \
                       && python3 -m compileall -q -x '[.]packages/' .";
        draft = draft.set("compile", command, format!("{file}, without requirements.txt"));
    }
    if !has_tests(here) {
        draft = draft.set("test", "echo 'no tests yet'", "there is no file `test_*.py`");
    }
    if docker::file(here).is_some() {
        return Some(draft);
    }
    Some(match start(here) {
        Some((words, why)) => draft.set("start", json!(words), why),
        None => draft,
    })
}

fn has_tests(here: &Folder<'_>) -> bool {
    here.files().any(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py"))
    })
}

/// How the service is started, as far as its files tell.
fn start(here: &Folder<'_>) -> Option<(Vec<String>, String)> {
    let requirements = here.text("requirements.txt").unwrap_or_default();
    let project = here.text("pyproject.toml").unwrap_or_default();
    let needs = |name: &str| {
        let line = |line: &str| line.trim().to_ascii_lowercase().starts_with(name);
        requirements.lines().any(line) || project.contains(&format!("\"{name}"))
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let module = ["main", "app"].into_iter().find(|module| here.has(&format!("{module}.py")));
    if let (true, Some(module)) = (needs("uvicorn"), module) {
        let application = format!("{module}:app");
        let start = words(&[
            "python3",
            "-m",
            "uvicorn",
            &application,
            "--host",
            "0.0.0.0",
            "--port",
            "8080",
        ]);
        return Some((start, format!("uvicorn, and `{module}.py`")));
    }
    if let (true, Some(module)) = (needs("gunicorn"), module) {
        let application = format!("{module}:app");
        let start = words(&["python3", "-m", "gunicorn", "--bind", "0.0.0.0:8080", &application]);
        return Some((start, format!("gunicorn, and `{module}.py`")));
    }
    if here.has("manage.py") {
        let start = words(&["python3", "manage.py", "runserver", "0.0.0.0:8080"]);
        return Some((
            start,
            "`manage.py`; take a server for production, such as gunicorn".to_owned(),
        ));
    }
    let package = here.files().find_map(|path| {
        let package = path.strip_suffix("/__main__.py")?;
        (!package.contains('/') && package != "app").then(|| package.to_owned())
    });
    if let Some(package) = package {
        return Some((words(&["python3", "-m", &package]), format!("`{package}/__main__.py`")));
    }
    let file = here.one_of(&["main.py", "app.py", "server.py"])?;
    Some((words(&["python3", file]), format!("`{file}`")))
}
