//! How fast the store writes and reads on this machine: `cargo run --release -p nuncio-store --example measure`.

use std::time::{Duration, Instant};

use nuncio_store::{Options, Row, Store, Ticket};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    for pace in [Duration::ZERO, Options::default().pace] {
        let folder = std::env::temp_dir().join(format!("nuncio-measure-{}", std::process::id()));
        let store = Store::open(&folder, &Options { pace, ..Options::default() })?;
        println!("pace {pace:?}");
        report("one put after the other, each awaited", 2_000, || {
            let table = store.table("roster");
            (0..2_000_u32).try_for_each(|number| {
                table.put("juliet@capulet.example", &number.to_be_bytes(), vec![b'x'; 100]).wait()
            })
        })?;
        report("64 tasks, each awaiting its puts", 64 * 300, || {
            runtime.block_on(async {
                let tasks: Vec<_> = (0..64)
                    .map(|task| {
                        let table = store.table("roster");
                        tokio::spawn(async move {
                            for number in 0..300_u32 {
                                table
                                    .put(
                                        &format!("{task}@capulet.example"),
                                        &number.to_be_bytes(),
                                        vec![b'x'; 100],
                                    )
                                    .await?;
                            }
                            Ok(())
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap_or(Err(nuncio_store::Fault::Closed))?;
                }
                Ok(())
            })
        })?;
        report("messages of 300 bytes with two rows, none awaited before the last", 100_000, || {
            let log = store.log("archive");
            let tickets = (0..100_000_u64).map(|number| {
                let rows = [number.wrapping_mul(7919) % 20_000, number.wrapping_mul(104_729) % 20_000]
                    .map(|owner| Row::new(&format!("{owner}@capulet.example"), "meta"));
                log.append(vec![b'x'; 300], &rows).1
            });
            Ticket::join(tickets.collect::<Vec<_>>()).wait()
        })?;
        report("pages of 50 read back", 2_000, || {
            let log = store.log("archive");
            runtime.block_on(async {
                for number in 0..2_000 {
                    log.read_back(&format!("{number}@capulet.example"), None, 50).await?;
                }
                Ok(())
            })
        })?;
        runtime.block_on(store.close())?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn report(
    what: &str,
    count: u32,
    work: impl FnOnce() -> Result<(), nuncio_store::Fault>,
) -> Result<(), nuncio_store::Fault> {
    let begun = Instant::now();
    work()?;
    let taken = begun.elapsed();
    println!("  {what}: {:.0}/s, {:?} each", f64::from(count) / taken.as_secs_f64(), taken / count);
    Ok(())
}
