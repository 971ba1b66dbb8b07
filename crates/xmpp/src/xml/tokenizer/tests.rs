use super::*;

/// What comes after a header means the same whether its declarations are shared or its own; and only the usual ones are shared.
#[test]
fn usual_declarations_are_shared() {
    let (client, stream) = ("xmlns='jabber:client'", "xmlns:stream='http://etherx.jabber.org/streams'");
    let headers = [
        (format!("<stream:stream {client} {stream} to='a.example' version='1.0'>"), true),
        (format!("<stream:stream from='me@a.example' {stream} xml:lang='de' {client}>"), true),
        (format!("<stream:stream {stream} xmlns='jabber:&#99;lient'>"), true),
        (format!("<stream:stream {client} {stream} xmlns:x='urn:x'>"), false),
        (format!("<s:stream {client} xmlns:s='http://etherx.jabber.org/streams'>"), false),
        (format!("<stream:stream xmlns='jabber:server' {stream}>"), false),
        (format!("<stream:stream xmlns:c='jabber:client' {stream}>"), false),
        (format!("<stream {client} {stream}>"), false),
        (format!("<stream:stream {stream}>"), false),
    ];
    let mut shared = Vec::new();
    for (header, usual) in &headers {
        let after = "<message to='x'><body xmlns='urn:b'>&lt;</body><stream:error/><a stream:b='c'/></message><stream:features/>";
        let end = header.split(' ').next().unwrap_or_default().replace('<', "</") + ">";
        let read = |own_scope: bool| {
            let mut tokenizer = Tokenizer { own_scope, ..Tokenizer::new(Limits::default()) };
            tokenizer.push(format!("{header}{after}{end}").as_bytes());
            let mut said = Vec::new();
            loop {
                match tokenizer.next() {
                    Ok(Some(Frame::Element(element))) => {
                        let root = element.root();
                        let inner = root.children().map(|it| (it.ns().to_owned(), it.name().to_owned()));
                        let inner: Vec<_> = inner.collect();
                        let mut xml = Vec::new();
                        root.write_closed(&mut xml, "jabber:server");
                        said.push(format!("{} {inner:?} {}", root.ns(), String::from_utf8_lossy(&xml)));
                    }
                    Ok(Some(frame)) => {
                        said.push(if matches!(frame, Frame::End) { "end" } else { "begin" }.to_owned())
                    }
                    Ok(None) => break,
                    Err(error) => {
                        said.push(error.to_string());
                        break;
                    }
                }
            }
            (said, tokenizer.scope)
        };
        let ((own, mine), (same, scope)) = (read(true), read(false));
        assert_eq!(own, same, "{header}");
        let text = |scope: &Option<Arc<Tree>>| scope.as_ref().map(|scope| scope.text.clone());
        assert_eq!(text(&mine).as_deref(), Some(&header[..]));
        assert_eq!(text(&scope) != text(&mine), *usual, "{header}");
        shared.extend(scope.filter(|_| *usual));
    }
    assert!(shared.windows(2).all(|two| Arc::ptr_eq(&two[0], &two[1])), "one for all");
}

/// A hundred thousand idle streams must not hold a hundred thousand buffers.
#[test]
fn between_elements_nothing_is_allocated() {
    let mut tokenizer = Tokenizer::new(Limits::default());
    let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    for piece in [header, "<a xmlns:p='u&#118;' b='c'><b>", "x</b></a>\n", "<a/>", " "] {
        tokenizer.push(piece.as_bytes());
        while tokenizer.next().is_ok_and(|frame| frame.is_some()) {}
    }
    let held = [
        tokenizer.buffer.capacity(),
        tokenizer.nodes.capacity(),
        tokenizer.attrs.capacity(),
        tokenizer.extras.capacity(),
    ];
    assert_eq!((held, tokenizer.buffered(), tokenizer.depth), ([0; 4], 0, 0));
}
