use super::*;
use crate::Entropy;

/// Sends back what it gets, upper case, one byte at a time; says "late" when nothing came for a second; ends at `!`.
#[derive(Default)]
struct Echo {
    out: VecDeque<Output<u8, u8>>,
    deadline: Option<Time>,
    asked: VecDeque<u8>,
}

impl Machine for Echo {
    type Question = u8;
    type Answer = u8;
    type Event = u8;
    type Command = Bytes;

    fn handle(&mut self, now: Time, input: Input<'_, u8, Bytes>) {
        match input {
            Input::Bytes(bytes) => {
                self.deadline = Some(now + Duration::from_secs(1));
                self.asked.extend(bytes);
                if let Some(first) = self.asked.pop_front() {
                    self.out.push_back(Output::Ask(first));
                }
            }
            Input::Answer(answer) => {
                self.out.push_back(Output::Event(answer));
                if answer == b'!' {
                    self.out.push_back(Output::Close(Close::Orderly));
                } else if answer.is_ascii_alphabetic() {
                    self.out.push_back(Output::Send(Bytes::copy_from_slice(&[answer])));
                }
                if let Some(next) = self.asked.pop_front() {
                    self.out.push_back(Output::Ask(next));
                }
            }
            Input::Command(bytes) => self.out.push_back(Output::Send(bytes)),
            Input::Time if self.deadline.is_some_and(|at| at <= now) => {
                self.deadline = None;
                self.out.push_back(Output::Event(b'L'));
            }
            _ => {}
        }
    }

    fn poll(&mut self, _: Time) -> Output<u8, u8> {
        self.out.pop_front().unwrap_or(Output::Wait(self.deadline))
    }
}

fn pair() -> Pair<Echo, Echo> {
    // `a` upcases and so stops the echo: `b` turns capitals into dots, which are not sent back.
    let a = Side::new(Echo::default(), Script::new(|_, byte: u8| byte.to_ascii_uppercase()));
    let b = Side::new(
        Echo::default(),
        Script::with_delay(|_, byte: u8| {
            (Duration::from_millis(100), if byte.is_ascii_uppercase() { b'.' } else { byte })
        }),
    );
    Pair::new(a, b)
}

#[test]
fn latency_answers_and_deadlines_are_exact() {
    for split in [Split::Whole, Split::Each(1)] {
        let mut pair = pair();
        pair.split = split;
        pair.command_b(Bytes::from_static(b"x"));
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.a.sent(), b"X");
        let heard: Vec<_> =
            pair.b.events().iter().map(|(at, e)| (at.since_origin().as_millis(), *e)).collect();
        // 20 ms there, 20 back, 100 for the answer; the deadline one second after the bytes came.
        assert_eq!(heard, [(140, b'.'), (1040, b'L')]);
        assert_eq!(pair.now().since_origin(), Duration::from_secs(5));
    }
}

#[test]
fn a_close_reaches_the_other_side_and_a_cut_cable_does_not_carry() {
    let mut pair = pair();
    pair.command_b(Bytes::from_static(b"!"));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.a.closed().map(|(at, _)| at.since_origin().as_millis()), Some(20));
    pair.cut = true;
    pair.command_b(Bytes::from_static(b"lost"));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.lost(), 4);
}

#[test]
fn the_counter_never_repeats_itself() {
    let counter = Counter::default();
    let tokens: std::collections::BTreeSet<_> = (0..1000).map(|_| counter.token()).collect();
    assert_eq!(tokens.len(), 1000);
    assert_eq!(Counter::default().token(), Counter::default().token());
}
