//! Reads a value by the name of its type: a plan keeps the name, and the value comes
//! when its stage starts.

use super::{
    AbsolutePath, Allowance, AnyText, AnyValue, ApprovalTimeout, Approver, ArtifactName,
    BranchName, CachePath, CheckAddress, Cores, Count, Credential, GitReference, Host,
    ImageReference, Interval, KubernetesName, Label, Line, Memory, Misfit, Network, PipelineName,
    Platform, Port, PortPair, Processes, Recipient, RegistryImage, Requests, Retries, RunnerLabel,
    Scalar, Selector, Size, TcpPort, Threshold, Timeout, Tolerance, UrlPath, User, Volume,
    WebAddress, Weight, WorkingDirectory, WorkspacePath, WorkspacePattern,
};
use crate::Duration;
use crate::pattern::Pattern;
use crate::plan::{BatchSize, ValueKind};
use crate::yaml::{Node, Value};

macro_rules! kinds {
    ($($kind:ident: $type:ty, $value:ident => $plan:expr;)+) => {
        /// Reads a value, and returns it in the form a plan has it.
        pub(crate) fn read_as(kind: ValueKind, node: &Node) -> Result<serde_json::Value, Misfit> {
            match kind {
                $(ValueKind::$kind => <$type>::read(node).map(|$value| serde_json::json!($plan)),)+
                // Which words there are is said by the type of the plan.
                ValueKind::Word => String::read(node).map(serde_json::Value::String),
                ValueKind::Int => match &node.value {
                    Value::Int(value, _) => Ok((*value).into()),
                    _ => Err(Misfit::wrong_type("a whole number", node)),
                },
            }
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn every_type_is_read_by_its_own_name() {
                $(assert_eq!(<$type as Scalar>::KIND, ValueKind::$kind, stringify!($type));)+
            }
        }
    };
}

kinds! {
    Text: String, text => text;
    AnyText: AnyText, text => text.0;
    Bool: bool, value => value;
    Count: Count, count => count.0;
    Processes: Processes, count => count.0;
    Retries: Retries, count => count.0;
    Tolerance: Tolerance, count => count.0;
    Requests: Requests, count => count.0;
    Weight: Weight, weight => weight.0;
    BatchSize: BatchSize, size => size;
    Allowance: Allowance, size => size.0;
    Threshold: Threshold, threshold => threshold.0;
    Cores: Cores, cores => cores.0;
    Port: Port, port => port.0;
    TcpPort: TcpPort, port => port.0;
    PortPair: PortPair, ports => ports.0;
    Duration: Duration, duration => duration;
    Timeout: Timeout, timeout => timeout.0;
    ApprovalTimeout: ApprovalTimeout, timeout => timeout.0;
    Interval: Interval, interval => interval.0;
    Size: Size, size => size.0;
    Memory: Memory, memory => memory.0;
    Image: ImageReference, image => image.0;
    RegistryImage: RegistryImage, image => image.0;
    Host: Host, host => host.0;
    UrlPath: UrlPath, path => path.0;
    WorkspacePath: WorkspacePath, path => path.0;
    WorkingDirectory: WorkingDirectory, path => path.0;
    CachePath: CachePath, path => path.0;
    AbsolutePath: AbsolutePath, path => path.0;
    WebAddress: WebAddress, address => address.0;
    CheckAddress: CheckAddress, address => address.0;
    Label: Label, label => label.0;
    RunnerLabel: RunnerLabel, label => label.0;
    Selector: Selector, selector => selector.0;
    KubernetesName: KubernetesName, name => name.0;
    Network: Network, network => network.0;
    Volume: Volume, volume => volume.0;
    User: User, user => user.0;
    Line: Line, line => line.0;
    ArtifactName: ArtifactName, name => name.0;
    Recipient: Recipient, recipient => recipient.0;
    Approver: Approver, approver => approver.0;
    BranchName: BranchName, branch => branch.0;
    Credential: Credential, credential => credential.0;
    GitReference: GitReference, reference => reference.0;
    PipelineName: PipelineName, pipeline => pipeline.0;
    Platform: Platform, platform => platform.0;
    Json: AnyValue, value => value.0;
    Glob: Pattern, pattern => pattern.text;
    WorkspaceGlob: WorkspacePattern, pattern => pattern.0;
}
