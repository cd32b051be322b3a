//! Pages that nobody builds.

use super::Draft;
use super::listing::Folder;

pub(super) fn pages(here: &Folder<'_>) -> Option<Draft> {
    let folder = ["public", "site", "www", "html", "."].into_iter().find(|folder| {
        let page =
            if *folder == "." { "index.html".to_owned() } else { format!("{folder}/index.html") };
        here.has(&page)
    })?;
    let page = if folder == "." { "index.html".to_owned() } else { format!("{folder}/index.html") };
    let draft = Draft::new("static-site", format!("`{page}` is a page")).set(
        "health-path",
        "/",
        "every page answers",
    );
    Some(if folder == "public" { draft } else { draft.set("site", folder, format!("`{page}`")) })
}
