//! `orch schema`.

use clap::Args;

use super::exit::Exit;
use super::{pretty, print};
use crate::{api, config};

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Print the description (OpenAPI) of what a running orch answers over its control socket, instead
    #[arg(long)]
    api: bool,
}

pub(super) fn schema(args: &SchemaArgs) -> Exit {
    print(&pretty(&if args.api { api::openapi() } else { config::schema() }))
}
