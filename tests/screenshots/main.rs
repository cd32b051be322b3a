//! `make screenshots`: draws the pictures of the documentation from a real run.

#[path = "../harness/mod.rs"]
mod harness;

use harness::lab::Lab;
use harness::screenshots;

fn main() {
    let lab = Lab::new();
    let folder = screenshots::folder();
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    for (name, svg) in screenshots::take(&lab) {
        let path = folder.join(name);
        std::fs::write(&path, svg).expect("a picture can be written");
        println!("wrote {}", path.display());
    }
}
