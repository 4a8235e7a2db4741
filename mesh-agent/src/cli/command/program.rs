//! `prog`: the programs of the mesh, as the kernel lists them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::link;
use crate::{
    cli::{
        args::Format,
        failure::Failure,
        node::Node,
        output::{self, Item, joined, number, or_dash, table, text, unit},
    },
    datapath::census::{self, LoadedProgram},
};

/// A loaded program.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgramRow {
    id: u32,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded_at: Option<String>,
    /// Names of the links that run it.
    links: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<u32>,
    jitted_bytes: u32,
}

impl Item for ProgramRow {
    const KIND: &'static str = "Program";
    const NOUN: &'static str = "prog";
    const COLUMNS: &'static [table::Column] = &[
        number("ID"),
        text("NAME"),
        text("TYPE"),
        text("TAG"),
        text("LOADED"),
        text("LINKS"),
    ];
    const WIDE: &'static [table::Column] = &[number("INSTRUCTIONS"), number("JITTED")];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.name.clone(),
            self.kind.clone(),
            self.tag.clone(),
            or_dash(self.loaded_at.as_ref()),
            joined(&self.links),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![or_dash(self.instructions), unit::bytes(self.jitted_bytes.into())]
    }
}

/// `prog list`.
pub fn list(node: &Node, format: Format) -> Result<String, Failure> {
    let links = link::rows(node, None)?;
    let links = by_program(links.into_iter().map(|link| (link.name, link.program)));
    let programs = census::programs()
        .map_err(|error| Failure::failed(format!("listing programs: {error} (run meshctl as root)")))?;
    let ours = programs
        .iter()
        .filter_map(|info| links.get(&u64::from(info.id)).map(|links| row(info, links)));
    output::list(&ours.collect::<Vec<_>>(), format)
}

/// Names of links by the program they run: what a link of ours runs is a program of ours.
fn by_program(links: impl IntoIterator<Item = (String, Option<u64>)>) -> BTreeMap<u64, Vec<String>> {
    let mut names: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (link, program) in links {
        if let Some(program) = program {
            names.entry(program).or_default().push(link);
        }
    }
    names
}

fn row(info: &LoadedProgram, links: &[String]) -> ProgramRow {
    ProgramRow {
        id: info.id,
        name: info.name.clone(),
        kind: info.kind.clone(),
        tag: format!("{:016x}", info.tag),
        loaded_at: info.loaded_at.map(unit::moment),
        links: links.to_vec(),
        instructions: info.verified_instructions,
        jitted_bytes: info.jitted_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let row = ProgramRow {
            id: 51,
            name: "mesh_connect4".into(),
            kind: "cgroup_sock_addr".into(),
            tag: "00ab".into(),
            loaded_at: Some("2025-01-01T00:00:00Z".into()),
            links: vec!["mesh_connect4".into()],
            instructions: Some(700),
            jitted_bytes: 2_048,
        };
        assert_eq!(
            output::list(&[row], Format::Wide).unwrap(),
            "\
ID   NAME            TYPE               TAG    LOADED                 LINKS           INSTRUCTIONS   JITTED
51   mesh_connect4   cgroup_sock_addr   00ab   2025-01-01T00:00:00Z   mesh_connect4            700   2.0KiB
"
        );
    }

    #[test]
    fn links_lead_to_programs() {
        let names = by_program([("a".into(), Some(1)), ("b".into(), Some(1)), ("c".into(), None)]);
        assert_eq!(names, [(1, vec!["a".to_owned(), "b".to_owned()])].into());
    }
}
