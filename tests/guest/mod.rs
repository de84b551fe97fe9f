//! The guest's side: crates become components, new crates build anywhere, and
//! components ask for no more than they use.

mod build;
mod fixture;
mod procs;
mod template;
mod testing;

/// Names of the interfaces that a component imports, sorted.
fn imports(component: &[u8]) -> Vec<String> {
    let wit_component::DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap() else {
        panic!("not a component");
    };
    let mut names: Vec<_> = resolve.worlds[world].imports.iter().map(|(key, _)| resolve.name_world_key(key)).collect();
    names.sort();
    names
}
