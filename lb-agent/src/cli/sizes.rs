//! The flags for the sizes of the tables.

use clap::Args;

use crate::kernel;

#[derive(Clone, Copy, Debug, Args)]
pub struct SizeArgs {
    /// Maximum number of Services, counted with six frontends each. A port has one frontend per family, a NodePort one per
    /// address of the node.
    #[arg(long, value_name = "N", default_value_t = kernel::Sizes::default().services,
        value_parser = clap::value_parser!(u32).range(i64::from(kernel::LEAST)..=i64::from(kernel::MOST_SERVICES)))]
    pub max_services: u32,

    /// Maximum number of endpoints, counted once for each port of each Service. With both defaults the tables take 57 MB of kernel
    /// memory, which the kernel charges to the pod. An upgrade, or another size, briefly takes twice that.
    #[arg(long, value_name = "N", default_value_t = kernel::Sizes::default().endpoints,
        value_parser = clap::value_parser!(u32).range(i64::from(kernel::LEAST)..=i64::from(kernel::MOST_ENDPOINTS)))]
    pub max_endpoints: u32,
}

impl SizeArgs {
    pub(super) const fn sizes(self) -> kernel::Sizes {
        kernel::Sizes {
            services: self.max_services,
            endpoints: self.max_endpoints,
        }
    }
}
