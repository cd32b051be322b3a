//! `image` of a `push` or `deploy`: a stage that makes one, or a reference.

use super::Lowering;
use super::draft::{Draft, Need};
use crate::codes::Code;
use crate::expression::Site;
use crate::name;
use crate::plan::{ImageSource, Work};
use crate::scalar::RegistryImage;
use crate::suggest::quoted;
use crate::yaml::{Entry, Node, Value};

impl Lowering<'_> {
    /// The stage whose image a `push` or `deploy` names; says what is wrong with
    /// the name.
    pub(super) fn used_image(&mut self, name: &str, action: &Entry) -> Option<Need> {
        let makers: &[&str] = match action.key.name.as_str() {
            "push" => &["build"],
            "deploy" => &["build", "push"],
            _ => return None,
        };
        let node = action.value.as_map()?.get("image")?;
        let Value::Text(text) = &node.value else { return None };
        if text == name {
            let error =
                self.error_at(Code::E021, format!("stage `{name}` uses its own image"), node);
            self.report(error.label("name the stage that makes the image"));
            return None;
        }
        if let Some(stage) = self.names.stages.get(text) {
            // Whether that stage makes an image is known when all are read.
            return Some(Need { stage: Some(*stage), span: node.span, must: true });
        }
        if name::is_stage_name(text) {
            let makers = quoted(makers.iter().copied());
            self.unknown_stage(&format!("stage `{name}` uses the image of `{text}`"), text, node);
            if let Some(last) = self.found.last_mut() {
                let help = format!(
                    "name a {makers} stage; an image of a registry has a tag or a path, \
                     for example `{text}:1.0`"
                );
                last.help = Some(help);
            }
        }
        None
    }

    /// The value of `image`. A name of a stage is one, whether there is such a
    /// stage has been checked.
    pub(super) fn image_source(&mut self, path: &str, node: &Node) -> ImageSource {
        if let Value::Text(text) = &node.value
            && (self.names.stages.contains_key(text) || name::is_stage_name(text))
        {
            self.record(path, node);
            return ImageSource::Stage(text.clone());
        }
        ImageSource::Reference(self.value::<RegistryImage>(path, node, Site::Value).0)
    }

    /// E020 for `image` that names a stage which makes none.
    pub(super) fn images_are_made(&mut self, stages: &[Draft]) {
        for user in stages {
            let Some(Need { stage: Some(stage), span, .. }) = user.image else { continue };
            let maker = &stages[stage];
            let push = matches!(user.body.as_ref().map(|body| &body.work), Some(Work::Push(_)));
            let good = match maker.body.as_ref().map(|body| &body.work) {
                // It has an error of its own.
                None | Some(Work::Build(_)) => true,
                Some(Work::Push(_)) => !push,
                Some(_) => false,
            };
            if good {
                continue;
            }
            let makers =
                stages.iter().filter(|stage| match stage.body.as_ref().map(|body| &body.work) {
                    Some(Work::Build(_)) => true,
                    Some(Work::Push(_)) => !push,
                    _ => false,
                });
            let makers = quoted(makers.map(|stage| stage.name.as_str()));
            let label =
                if push { "name a `build` stage" } else { "name a `build` or `push` stage" };
            let (user, maker) = (&user.name, &maker.name);
            let message = if push {
                format!("stage `{user}` pushes the image of `{maker}`, which is no `build` stage")
            } else {
                format!("stage `{user}` deploys the image of `{maker}`, which makes none")
            };
            let mut error = self.error(Code::E020, message, span).label(label);
            if !makers.is_empty() {
                error = error.note(format!("stages that make one: {makers}"));
            }
            self.report(error);
        }
    }
}
