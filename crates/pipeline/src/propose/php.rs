//! PHP: Composer, or plain files.

use super::Draft;
use super::docker;
use super::listing::Folder;

pub(super) fn php(here: &Folder<'_>) -> Option<Draft> {
    let file = here.one_of(&["composer.json", "public/index.php", "index.php"])?;
    let why = if file == "composer.json" {
        "`composer.json` is a project of Composer".to_owned()
    } else {
        format!("`{file}` is a page of PHP")
    };
    let mut draft = Draft::new("php-service", why);
    if here.one_of(&["phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml"]).is_none() {
        draft = draft.set("test", "echo 'no tests yet'", "there is no phpunit.xml");
    }
    if docker::file(here).is_none() && !here.has("public/index.php") && here.has("index.php") {
        draft = draft.set("document-root", ".", "`index.php` is at the root");
    }
    Some(draft)
}
