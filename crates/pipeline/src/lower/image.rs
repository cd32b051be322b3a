//! `image` of a `push` or `deploy`: a stage that makes one, or a reference.

use super::Lowering;
use super::draft::Draft;
use crate::codes::Code;
use crate::expression::Site;
use crate::model::{Action, Image};
use crate::name;
use crate::suggest::quoted;
use crate::yaml::{Node, Value};

impl Lowering<'_> {
    /// `makers` are the actions whose image can be used here.
    pub(super) fn image(&mut self, name: &str, node: &Node, makers: &[&str]) -> Option<Image> {
        let Value::Text(text) = &node.value else {
            return self.setting("image", node, Site::Value).map(Image::Reference);
        };
        if text == name {
            let error =
                self.error_at(Code::E021, format!("stage `{name}` uses its own image"), node);
            self.report(error.label("name the stage that makes the image"));
            return None;
        }
        if let Some(stage) = self.stages.get(text) {
            // Whether that stage makes an image is known when all are read.
            return Some(Image::Stage { stage: *stage, span: node.span });
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
            return None;
        }
        self.setting("image", node, Site::Value).map(Image::Reference)
    }

    /// E020 for `image` that names a stage which makes none.
    pub(super) fn images_are_made(&mut self, stages: &[Draft]) {
        for user in stages {
            let Some(action) = &user.action else { continue };
            let Some(Image::Stage { stage, span }) = action.image() else { continue };
            let maker = &stages[*stage];
            let push = matches!(action, Action::Push(_));
            let good = match &maker.action {
                // It has an error of its own.
                None => true,
                Some(made) if push => matches!(made, Action::Build(_)),
                Some(made) => made.makes_image(),
            };
            if good {
                continue;
            }
            let makers = stages.iter().filter(|stage| match &stage.action {
                Some(Action::Build(_)) => true,
                Some(Action::Push(_)) => !push,
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
            let mut error = self.error(Code::E020, message, *span).label(label);
            if !makers.is_empty() {
                error = error.note(format!("stages that make one: {makers}"));
            }
            self.report(error);
        }
    }
}
