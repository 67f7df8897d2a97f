//! Generates the gRPC code with protox: no `protoc` is needed.

/// Messages that hold keys: `src/lib.rs` implements their `Debug` by hand.
const SECRET: [&str; 3] = ["tandem.v1.Crypto", "tandem.v1.EndState", "tandem.v1.Association"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["tandem/v1/relay.proto", "tandem/v1/signal.proto"];
    println!("cargo:rerun-if-changed=tandem");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().build_transport(false).skip_debug(SECRET).compile_fds(descriptors)?;
    Ok(())
}
