use proptest::prelude::*;

use super::super::agent::MemoryAgent;
use super::*;

fn oid(text: &str) -> Oid {
    text.parse().unwrap()
}

fn cells(column: u32, rows: &[u32]) -> Vec<(Oid, Value)> {
    rows.iter().map(|row| (oid(&format!("1.3.6.1.9.1.{column}.{row}")), Value::Integer(i64::from(column * 1_000 + row)))).collect()
}

fn column(column: u32) -> Oid {
    oid(&format!("1.3.6.1.9.1.{column}"))
}

/// Walks to the end; `reply` may change an answer. Gives the number of questions, which has a bound.
fn run(walk: &mut Walk, agent: &MemoryAgent, mut reply: impl FnMut(&Question, Answer) -> Result<Answer, Reason>) -> usize {
    let mut asked = 0;
    while let Some(question) = walk.question() {
        asked += 1;
        assert!(asked < 20_000, "a walk without an end");
        let answer = agent.answer(&question);
        walk.answer(reply(&question, answer));
    }
    asked
}

fn texts(walk: &Walk) -> Vec<String> {
    let cells = |column: &Column| {
        let cells: Vec<_> = column.cells.iter().map(|(index, cell)| format!("{index:?}={}", cell.value.plain().unwrap())).collect();
        format!("{} {:?}", cells.join(" "), column.end.unwrap())
    };
    walk.columns.iter().map(cells).collect()
}

#[test]
fn columns_are_walked_side_by_side_to_their_own_ends() {
    let agent = MemoryAgent::new([cells(1, &[1, 2, 7]), cells(2, &[2]), cells(4, &[1])].concat());
    let mut walk = Walk::new([1, 2, 3, 4].map(column), None, 20, true);
    let asked = run(&mut walk, &agent, |_, answer| Ok(answer));
    assert_eq!(texts(&walk), ["[1]=1001 [2]=1002 [7]=1007 Whole", "[2]=2002 Whole", " Whole", "[1]=4001 Whole"]);
    // Three columns fit the first question with its 20 rows.
    assert_eq!(asked, 2);
    // Known to have three rows, all fit one.
    let mut walk = Walk::new([1, 2, 3, 4].map(column), Some(3), 20, true);
    assert_eq!(run(&mut walk, &agent, |_, answer| Ok(answer)), 1);
}

#[test]
fn version_1_is_walked_object_by_object() {
    let agent = MemoryAgent { old: true, ..MemoryAgent::new([cells(1, &[1, 2]), cells(2, &[1])].concat()) };
    let mut walk = Walk::new([1, 2].map(column), None, 20, false);
    assert_eq!(run(&mut walk, &agent, |_, answer| Ok(answer)), 5);
    assert_eq!(texts(&walk), ["[1]=1001 [2]=1002 Whole", "[1]=2001 Whole"]);
}

#[test]
fn questions_become_smaller_where_answers_have_no_room() {
    let rows: Vec<u32> = (1..=30).collect();
    let agent = MemoryAgent::new([cells(1, &rows), cells(2, &rows)].concat());
    // Too big for more than four rows, said by status.
    let mut walk = Walk::new([1, 2].map(column), None, 20, true);
    run(&mut walk, &agent, |question, answer| match question {
        Question::Bulk { repetitions: 5.., .. } => Ok(Answer { status: TOO_BIG, ..Answer::default() }),
        _ => Ok(answer),
    });
    assert_eq!((walk.most, walk.columns[0].cells.len(), walk.columns[1].cells.len()), (2, 30, 30));
    assert_eq!(walk.misses, ["too big", "too big", "too big"]);
    // Cut by the agent.
    let mut walk = Walk::new([1, 2].map(column), None, 20, true);
    let cut = MemoryAgent { room: 9, ..agent.clone() };
    run(&mut walk, &cut, |_, answer| Ok(answer));
    assert_eq!((walk.most, walk.columns[0].cells.len(), walk.columns[1].cells.len()), (4, 30, 30));
    // Too big always.
    let mut walk = Walk::new([1, 2].map(column), None, 20, true);
    run(&mut walk, &agent, |_, _| Ok(Answer { status: TOO_BIG, ..Answer::default() }));
    assert_eq!(walk.columns.iter().map(Column::reason).collect::<Vec<_>>(), [Reason::SnmpError(1); 2]);
}

#[test]
fn an_agent_that_goes_in_circles_is_left() {
    let agent = MemoryAgent::new(cells(1, &[1, 2, 3]));
    let mut walk = Walk::new([column(1)], None, 2, true);
    let asked = run(&mut walk, &agent, |_, answer| Ok(Answer { bindings: cells(1, &[5, 4]), ..answer }));
    assert_eq!((asked, texts(&walk)), (1, vec![format!("[5]=1005 {:?}", End::Broken(Reason::Malformed))]));
    assert_eq!(walk.misses, ["not increasing"]);
}

#[test]
fn a_value_that_cannot_be_understood_costs_only_its_column() {
    let agent = MemoryAgent::new([cells(1, &[1, 2, 3]), cells(2, &[1, 2, 3]), cells(3, &[1, 2, 3])].concat());
    let bad = oid("1.3.6.1.9.1.2.2");
    let mut walk = Walk::new([1, 2, 3].map(column), None, 20, true);
    run(&mut walk, &agent, |_, mut answer| {
        let end = answer.bindings.iter().position(|(oid, _)| *oid == bad).unwrap_or(answer.bindings.len());
        answer.bindings.truncate(end);
        Ok(answer)
    });
    let broken = format!("[1]=2001 {:?}", End::Broken(Reason::Malformed));
    assert_eq!(texts(&walk), ["[1]=1001 [2]=1002 [3]=1003 Whole", broken.as_str(), "[1]=3001 [2]=3002 [3]=3003 Whole"]);
}

#[test]
fn a_refusal_costs_the_column_that_it_names() {
    let agent = MemoryAgent::new([cells(1, &[1]), cells(2, &[1]), cells(3, &[1])].concat());
    let mut walk = Walk::new([1, 2, 3].map(column), None, 20, true);
    run(&mut walk, &agent, |question, answer| {
        let Question::Bulk { after, .. } = question else { panic!() };
        let place = after.iter().position(|after| after.below(&column(2)).is_some());
        Ok(place.map_or(answer, |place| Answer { status: 5, index: u32::try_from(place).unwrap() + 1, ..Answer::default() }))
    });
    assert_eq!(texts(&walk)[1], format!(" {:?}", End::Broken(Reason::SnmpError(5))));
    assert_eq!((texts(&walk)[0].as_str(), texts(&walk)[2].as_str()), ("[1]=1001 Whole", "[1]=3001 Whole"));
}

#[test]
fn a_table_of_more_rows_than_the_limit_is_cut() {
    let rows: Vec<u32> = (1..=1_200).collect();
    let agent = MemoryAgent::new(cells(1, &rows));
    let mut walk = Walk::new([column(1)], None, 100, true);
    run(&mut walk, &agent, |_, answer| Ok(answer));
    assert_eq!((walk.columns[0].cells.len(), walk.columns[0].end), (MAX_ROWS, Some(End::Full)));
}

/// What an agent may do with an answer.
#[derive(Debug, Clone)]
enum Fault {
    None,
    Refuse(u8, u32),
    Cut(usize),
    Fail,
    Repeat,
    Shuffle,
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => (1u8..20, 0u32..9).prop_map(|(status, index)| Fault::Refuse(status, index)),
        1 => (0usize..70).prop_map(Fault::Cut),
        1 => Just(Fault::Fail),
        1 => Just(Fault::Repeat),
        1 => Just(Fault::Shuffle),
    ]
}

proptest! {
    /// Whatever an agent does: the walk ends, every cell is of the agent and of its own column, and a column that is said to be whole is.
    #[test]
    fn a_walk_ends_and_never_lies(
        rows in prop::collection::btree_set(1u32..60, 0..40),
        faults in prop::collection::vec(any_fault(), 0..12),
        bulk in any::<bool>(),
        most in 1u16..60,
        known in prop::option::of(0usize..80),
    ) {
        let rows: Vec<u32> = rows.into_iter().collect();
        let agent = MemoryAgent { old: !bulk, ..MemoryAgent::new([cells(1, &rows), cells(2, &rows), cells(3, &[7])].concat()) };
        let mut walk = Walk::new([1, 2, 3].map(column), known, most, bulk);
        let mut faults = faults.into_iter();
        let mut honest = true;
        run(&mut walk, &agent, |_, mut answer| {
            match faults.next().unwrap_or(Fault::None) {
                Fault::None => {}
                // That there is nothing behind an object is the agent's word.
                Fault::Refuse(status, index) => {
                    honest &= status != NO_SUCH_NAME;
                    return Ok(Answer { status, index, ..Answer::default() });
                }
                Fault::Cut(at) => answer.bindings.truncate(at),
                Fault::Fail => return Err(Reason::Timeout),
                Fault::Repeat => {
                    let first = answer.bindings.first().cloned();
                    answer.bindings.extend(first);
                }
                Fault::Shuffle => {
                    honest = false;
                    answer.bindings.reverse();
                }
            }
            Ok(answer)
        });
        for (place, own) in walk.columns.iter().enumerate() {
            for (index, cell) in &own.cells {
                prop_assert_eq!(agent.objects.get(&own.root.with(index).unwrap()), Some(&cell.value));
            }
            if honest && own.end == Some(End::Whole) {
                prop_assert_eq!(own.cells.len(), if place == 2 { 1 } else { rows.len() });
            }
        }
    }
}
