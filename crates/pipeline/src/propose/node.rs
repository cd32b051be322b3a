//! JavaScript: a service on Node.js, or pages that are built.

use serde_json::{Value as Json, json};

use super::Draft;
use super::docker;
use super::listing::{Folder, major};

/// The Node.js of the runner image.
const NODE: u32 = 18;
/// Packages that answer requests.
const SERVERS: [&str; 8] =
    ["express", "fastify", "koa", "@nestjs/core", "@hapi/hapi", "next", "nuxt", "restify"];
/// Packages that make pages, with the folder they make them in.
const BUILDERS: [(&str, &str); 8] = [
    ("vite", "dist"),
    ("react-scripts", "build"),
    ("@angular/cli", "dist"),
    ("@vue/cli-service", "dist"),
    ("astro", "dist"),
    ("@11ty/eleventy", "_site"),
    ("gatsby", "public"),
    ("parcel", "dist"),
];

pub(super) fn node(here: &Folder<'_>) -> Option<Draft> {
    if !here.has("package.json") {
        return None;
    }
    let package: Json = here
        .text("package.json")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let depends = |name: &str| {
        ["dependencies", "devDependencies"].iter().any(|key| package[key].get(name).is_some())
    };
    let serves = SERVERS.iter().find(|name| depends(name));
    let builds = BUILDERS.iter().find(|(name, _)| depends(name));
    let draft = match (serves, builds) {
        (None, Some((name, site))) => Draft::new(
            "static-site",
            format!("`package.json` makes pages with {name}"),
        )
        .set("site", *site, format!("where {name} writes them")),
        (Some(name), _) => {
            Draft::new("node-service", format!("`package.json` is a service with {name}"))
        }
        (None, None) => Draft::new("node-service", "`package.json` is a package of npm"),
    };
    let service = draft.template == "node-service";
    let draft = install(draft, here, &package);
    let draft = if service { start(tests(draft, &package), here, &package) } else { draft };
    Some(version(draft, here, &package))
}

/// Without a lock file of npm `npm ci` has nothing to install.
fn install(draft: Draft, here: &Folder<'_>, package: &Json) -> Draft {
    let build = if package["scripts"]["build"].is_string() { " && npm run build" } else { "" };
    if here.has("yarn.lock") {
        let command = format!("npx --yes yarn@1 install --frozen-lockfile{build}");
        return draft.set("compile", command, "`yarn.lock`");
    }
    if here.has("pnpm-lock.yaml") {
        let command = format!("npx --yes pnpm install --frozen-lockfile{build}");
        return draft.set("compile", command, "`pnpm-lock.yaml`");
    }
    if here.one_of(&["package-lock.json", "npm-shrinkwrap.json"]).is_none() {
        let why = "there is no package-lock.json; commit one, and remove this line";
        return draft.set("compile", format!("npm install{build}"), why);
    }
    draft
}

fn tests(draft: Draft, package: &Json) -> Draft {
    let test = package["scripts"]["test"].as_str().unwrap_or_default();
    if test.is_empty() || test.contains("no test specified") {
        return draft.set("test", "echo 'no tests yet'", "package.json has no script `test`");
    }
    draft
}

/// The command of the container, where no Dockerfile has it.
fn start(draft: Draft, here: &Folder<'_>, package: &Json) -> Draft {
    if docker::file(here).is_some() {
        return draft;
    }
    let script = package["scripts"]["start"].as_str().unwrap_or_default();
    let words: Vec<&str> = script.split_whitespace().collect();
    match words.as_slice() {
        ["node", file] => {
            draft.set("start", json!(["node", file]), "the script `start` of package.json")
        }
        _ if package["main"].is_string() || here.has("index.js") => draft,
        _ => {
            match here.one_of(&["server.js", "app.js", "main.js", "src/index.js", "src/server.js"])
            {
                Some(file) => draft.set("start", json!(["node", file]), format!("`{file}`")),
                None => draft,
            }
        }
    }
}

fn version(draft: Draft, here: &Folder<'_>, package: &Json) -> Draft {
    let engine =
        package["engines"]["node"].as_str().map(|text| (text, "`engines` in package.json"));
    let asked = here.text(".nvmrc").map(|text| (text, "`.nvmrc`")).or(engine);
    let Some((wanted, why)) = asked.and_then(|(text, why)| Some((major(text)?, why))) else {
        return draft;
    };
    if wanted <= NODE {
        return draft;
    }
    let draft = draft.set("build-image", format!("node:{wanted}"), why);
    if draft.template != "node-service" || docker::file(here).is_some() {
        return draft;
    }
    draft.set("runtime-image", format!("node:{wanted}-slim"), why).set(
        "packages",
        json!([]),
        "that image has the runtime",
    )
}
