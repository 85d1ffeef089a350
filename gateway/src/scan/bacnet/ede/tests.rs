use super::*;

const HEAD: &str = "#Engineering-Data-Exchange - B.I.G.-EU
PROJECT_NAME;Example plant
VERSION_OF_REFERENCEFILE;3
TIMESTAMP_OF_LAST_CHANGE;2024-05-02
AUTHOR_OF_LAST_CHANGE;nobody
VERSION_OF_LAYOUT;2.1
#mandatory;mandatory;mandatory;mandatory;mandatory;optional;optional;optional;optional;optional;optional;optional;optional;optional;optional;optional
# keyname;device obj.-instance;object-name;object-type;object-instance;description;present-value-default;min-present-value;max-present-value;settable;supports COV;hi-limit;low-limit;state-text-reference;unit-code;vendor-specific-addres
";

fn read_text(rows: &str) -> Result<Vec<Told>, Vec<String>> {
    let texts = StateTexts::from([(4, vec!["Aus".to_owned(), "Ein".to_owned()])]);
    read("plant.csv".as_ref(), format!("{HEAD}{rows}").as_bytes(), &texts).map_err(|all| all.iter().map(ToString::to_string).collect())
}

#[test]
fn objects_are_read_with_all_that_is_said_of_them() {
    let devices = read_text(
        "AHU1;3001;AHU1;8;3001;;;;;;;;;;;\n\
         AHU1.ZuT;3001;AHU1'ZuT;0;12;\"Zuluft; Temperatur \"\"1\"\"\";;-50;150,5;N;Y;30;10;;62;\n\
         AHU1.Sw;3001;AHU1'Sw;2;3;;20;10;30;Y;Y;;;;62;\n\
         AHU1.Vent;3001;AHU1'Vent;BINARY-OUTPUT;1;Ventilator;;;;y;;;;4;;\n\
         ;;;;;;;;;;;;;;;\n\
         # the end\n\
         VAV;17;VAV'T;0;1;;;;;;;;;;;\n",
    )
    .unwrap();
    let [vav, ahu] = devices.as_slice() else { panic!("{devices:?}") };
    assert_eq!((vav.instance, vav.objects.len()), (17, 1));
    assert_eq!((ahu.instance, ahu.name.as_str(), ahu.objects.len()), (3001, "AHU1", 3));
    let expected = ToldObject {
        name: "AHU1'ZuT".into(),
        description: "Zuluft; Temperatur \"1\"".into(),
        units: Some(62),
        limits: Some((-50.0, 150.5)),
        ..ToldObject::new(ObjectId::new(0, 12))
    };
    assert_eq!(ahu.objects[0], expected);
    assert_eq!((ahu.objects[1].is_settable, ahu.objects[1].limits), (true, Some((10.0, 30.0))));
    let fan = &ahu.objects[2];
    assert_eq!(
        (fan.id, fan.is_settable, fan.states.as_slice()),
        (ObjectId::new(4, 1), true, ["Aus".to_owned(), "Ein".to_owned()].as_slice())
    );
}

#[test]
fn each_usual_encoding_and_separator_is_read() {
    let text = "#keyname,device obj.-instance,object-name,object-type,object-instance,description\nk,1,Außen,0,2,\"a,b\"\n";
    let wide = |unit: fn(u16) -> [u8; 2], mark: [u8; 2]| mark.into_iter().chain(text.encode_utf16().flat_map(unit)).collect::<Vec<u8>>();
    for content in [
        text.as_bytes().to_vec(),
        [&[0xEF, 0xBB, 0xBF], text.as_bytes()].concat(),
        text.chars().map(|c| u8::try_from(c).unwrap()).collect(),
        wide(u16::to_le_bytes, [0xFF, 0xFE]),
        wide(u16::to_be_bytes, [0xFE, 0xFF]),
        text.replace("\"a,b\"", "a b").replace(',', "\t").replace("a b", "a,b").into_bytes(),
        text.replace('\n', "\r\n").into_bytes(),
    ] {
        let devices = read("x.csv".as_ref(), &content, &StateTexts::new()).unwrap();
        let object = &devices[0].objects[0];
        assert_eq!((devices[0].instance, object.name.as_str(), object.description.as_str()), (1, "Außen", "a,b"));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let errors =
        read_text("a;1;x;0;4194303;\nb;x;y;9999;1\nc;1;z;0;1;;;low;5\nd;1;z;0;2;;;;;;;;;;degC\ne;1;q;0;3\nf;1;q;0;3\n").unwrap_err();
    assert_eq!(
        errors,
        [
            "plant.csv:9:9: object-instance: found `4194303`, expected the instance of the object, 0 to 4194302",
            "plant.csv:10:3: device obj.-instance: found `x`, expected the instance of the device, 0 to 4194302",
            "plant.csv:10:7: object-type: found `9999`, expected the number of a type of objects, such as 0 for an analog input",
            "plant.csv:11:13: min-present-value: found `low`, expected a number",
            "plant.csv:12:20: unit-code: found `degC`, expected the number of a unit, such as 62 for °C",
            "plant.csv:14:1: the object 0:3 of device 1 is there twice",
        ]
    );
    for (text, says) in [("", "found no list of objects"), ("a;b;c\n1;2;3\n", "found no list of objects"), (HEAD, "found no object in it")]
    {
        let errors = read("plant.csv".as_ref(), text.as_bytes(), &StateTexts::new()).unwrap_err();
        assert!(errors[0].to_string().contains(says), "{errors:?}");
    }
}

#[test]
fn state_texts_are_read_by_their_number() {
    let text = "#State Text Reference\nPROJECT_NAME;x\n#Reference Number;Text 1 or Inactive-Text;Text 2 or Active-Text;Text 3\n1;Aus;Ein;;\n7;Auto;;Hand\n";
    let texts = state_texts("s.csv".as_ref(), text.as_bytes()).unwrap();
    let own = |number| texts[&number].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((own(1), own(7)), (vec!["Aus", "Ein"], vec!["Auto", "", "Hand"]));
    let errors = state_texts("s.csv".as_ref(), b"1;a;b\nx;c;d\n").unwrap_err();
    assert_eq!(errors[0].to_string(), "s.csv:2:1: found `x`, expected the number of a set of state texts");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let content = [HEAD.as_bytes(), &bytes].concat();
        let _ = read("x.csv".as_ref(), &content, &StateTexts::new());
        let _ = state_texts("x.csv".as_ref(), &bytes);
    }
}
