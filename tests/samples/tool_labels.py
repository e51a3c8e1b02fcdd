"""Label files as annotation tools and detectors write them."""

from __future__ import annotations

import json
from typing import Any

BIRDNET = """\
Start (s),End (s),Scientific name,Common name,Confidence,File
0.0,3.0,Turdus merula,Eurasian Blackbird,0.8123,/data/site1/rec 1.wav
3.0,6.0,nocall,nocall,0.3,/data/site1/rec 1.wav
3.0,6.0,Engine,,0.4411,"/data/site1/rec, 2.wav"
"""
BIRDNET_LITE = (
    "Start (s);End (s);Scientific name;Common name;Confidence\n3.0;6.0;Catharus ustulatus;Swainson's Thrush;0.7\n"
)
BIRDNET_R = (
    "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week,overlap,sensitivity,min_conf,species_list,"
    "model\n/data/rec1.wav,0.0,3.0,Turdus merula,Eurasian Blackbird,0.8123,-1.0000,-1.0000,-1,0.0,1.0,0.1,,V2.4\n"
)
BIRDNET_PACKAGE = """\
input,start_time,end_time,species_name,confidence
"/data/rec_001.wav","00:00:00.00","00:00:03.00","Turdus merula_Common Blackbird",0.814058
"/data/rec_001.wav","00:01:03.00","00:01:06.50","Engine",0.308293
"""
KALEIDOSCOPE_CLUSTER = """\
INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,Fmin,Fmean,Fmax,DATE,TIME,HOUR,TOP1MATCH*,TOP1DIST,VOCALIZATIONS,MANUAL ID
D:\\birds,site1\\may,SM4_20240501_053000.wav,0,12.345,1.5,1800,2500,4000,2024-05-01,05:30:12,5,cluster.01,0.21,2,Wren
D:\\birds,site1\\may,SM4_20240501_053000.wav,1,20,0.75,1800,2500,4000,2024-05-01,05:30:20,5,cluster.02,0.4,1,
D:\\birds,,a.wav,,1:02.5,1,1800,2500,4000,2024-05-01,05:31:02,5,cluster.02,0.4,1,"Robin, song"
"""
KALEIDOSCOPE_ID = """\
INDIR,OUTDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,OUT FILE FS,DATE,TIME,HOUR,AUTO ID*,PULSES,MANUAL ID
D:\\bats,D:\\out,night1,S4U_20240701_213000.wav,0,0,5,,2024-07-01,21:30:00,21,PIPPIP,12,
D:\\bats,D:\\out,night1,S4U_20240701_213005.wav,0,2.5,2.5,,2024-07-01,21:30:05,21,NoID,3,
"""
KALEIDOSCOPE_BIRDNET = """\
INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat,lon,week,overlap,sensitivity
/data,site1,rec1.wav,3.0,3.0,Turdus merula,Eurasian Blackbird,0.8123,-1.0000,-1.0000,-1,0.0,1.0
"""
KALEIDOSCOPE_BIRDNET_3 = """\
OFFSET,confidence,INDIR,FOLDER,IN FILE,DURATION,TOP1MATCH
3.0,0.8123,/data,site1,rec1.wav,3.0,Eurasian Blackbird
"""
FEW_SHOT = """\
Audiofilename,Starttime,Endtime,AGGM,SNMK
a1.wav,1.1,2.2,POS,NEG
a1.wav,15, 20.5,UNK,POS
a2.wav,99.9,100.0,NEG,NEG
"""
SONIC_VISUALISER = """\
TIME,VALUE,DURATION,LABEL
0.500000000,1,1.250000000,"dog, barking"
10.000000000,2,0.500000000,cat
"""
SONIC_BOXES = "START,END,EXTENT START,EXTENT END,LABEL\n0.5,1.75,2000,8000,wren\n"
SONIC_LAYER = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE sonic-visualiser>
<sv>
  <data>
    <model id="3" name="" sampleRate="44100" start="22050" end="110250" type="sparse" dimensions="3" resolution="1" \
notifyOnAdd="true" dataset="2" subtype="region" valueQuantization="0" minimum="0" maximum="1" units="" />
    <dataset id="2" dimensions="3">
      <point frame="22050" value="0" duration="44100" label="dog &amp; cat" />
      <point frame="88200" value="1" duration="22050" label="siren" />
    </dataset>
  </data>
  <display>
    <layer id="4" type="regions" name="Regions" model="3" visible="true" />
  </display>
</sv>
"""
SUBRIP = """\
1
00:00:01,000 --> 00:00:03,500
<i>A dog barks.</i>
Twice, {\\an8}loudly.

2
01:00:04,000 --> 01:00:05,250 X1:1 X2:2 Y1:3 Y2:4
(door)
"""
WEBVTT = """\
WEBVTT - made up

NOTE
not a subtitle

STYLE
::cue { color: red }

intro
00:01.000 --> 00:03.500 align:start
<v Ann>Rock &amp; roll</v>

01:00:04.000 --> 01:00:05.250
<00:01.500>door <laughter>
"""
HTK = "0000000 3600000 ice\n3600000 8200000 cream -136.655975 h# -589.680481 h#\n"
HTK_SECONDS = "0.000000 2.612267 N\n2.612267 11.459070 a big dog\n"
HTK_MLF = '#!MLF!#\n"*/night 1/a.lab"\n0 3600000 ice\n3600000 8200000 "Ger\\303\\244usch"\n.\n"*/b.rec"\n.\n'


def _task(n: int, audio: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": n,
        "annotations": list(annotations),
        "file_upload": "x.json",
        "predictions": [],
        "data": {"audio": audio},
    }


def _annotation(*results: dict[str, Any], cancelled: bool = False) -> dict[str, Any]:
    return {"id": 7, "completed_by": 1, "result": list(results), "was_cancelled": cancelled, "lead_time": 7.662}


def _region(start: float, end: float, labels: list[str], channel: int | None = None) -> dict[str, Any]:
    value: dict[str, Any] = {"start": start, "end": end, "labels": labels}
    value |= {} if channel is None else {"channel": channel}
    common = {"from_name": "label", "to_name": "audio", "type": "labels", "origin": "manual"}
    return {"original_length": 30.0, "value": value, "id": "wXy", **common}


_SAID = {"value": {"start": 0.5, "end": 1.25, "channel": 0, "text": ["loud"]}, "from_name": "said", "type": "textarea"}
TASKS = [
    _task(1, "/data/upload/3/1a2b3c4d-rec%201.wav", _annotation(_region(0.5, 1.25, ["dog", "indoors"], 0), _SAID)),
    _task(2, "/data/local-files/?d=site1/may%2Frec 2.wav", _annotation(_region(2, 3.5, ["cat"], 1)), _annotation()),
    _task(3, "s3://bucket/site1/rec3.wav?x=1", _annotation(), _annotation(_region(1, 2, ["dog"]), cancelled=True)),
    _task(4, "https://example.org/a/rec4.flac"),
]
LABEL_STUDIO = json.dumps(TASKS, indent=1)
LABEL_STUDIO_MIN = json.dumps(
    [
        {
            "audio": "/data/upload/3/1a2b3c4d-rec1.wav",
            "id": 1,
            "sound": [
                {"start": 0.5, "end": 1.25, "channel": 0, "labels": ["dog", "indoors"]},
                {"start": 61, "end": "0:01:02.5", "channel": 1, "labels": ["cat"]},
            ],
            "mood": "calm",
            "annotator": 1,
            "annotation_id": 7,
            "created_at": "2022-10-31T21:19:19.131290Z",
            "updated_at": "2022-10-31T21:19:19.131302Z",
            "lead_time": 7.662,
        },
        {"audio": "rec2.wav", "id": 2, "annotator": 1, "annotation_id": 8, "lead_time": 1.0},
        {"audio": "rec3.wav", "id": 3, "annotator": {}, "annotation_id": None, "lead_time": None},
    ],
    indent=1,
)

_ATTRIBUTES = {
    "1": {
        "aname": "TEMPORAL-SEGMENTS",
        "anchor_id": "FILE1_Z2_XY0",
        "type": 4,
        "desc": "Temporal segment attribute added by default",
        "options": {"default": "Default", "1": "dog barking"},
        "default_option_id": "",
    },
    "2": {
        "aname": "where",
        "anchor_id": "FILE1_Z2_XY0",
        "type": 2,
        "desc": "",
        "options": {"1": "near", "2": "indoors"},
        "default_option_id": "",
    },
}
PROJECT: dict[str, Any] = {
    "project": {"pid": "__VIA_PROJECT_ID__", "pname": "Unnamed VIA Project", "vid_list": ["1", "2", "3"]},
    "config": {
        "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
        "ui": {"gtimeline_visible_row_count": "4"},
    },
    "attribute": _ATTRIBUTES,
    "file": {
        "1": {"fid": "1", "fname": "rec 1.mp3", "type": 8, "loc": 1, "src": ""},
        "2": {"fid": "2", "fname": "second", "type": 8, "loc": 2, "src": "https://example.org/site1/rec%202.mp3"},
        "3": {"fid": "3", "fname": "rec3.mp3", "type": 8, "loc": 1, "src": ""},
    },
    "metadata": {
        "1_mR8ks-Aa": {"vid": "1", "flg": 0, "z": [1.349, 2.741], "xy": [], "av": {"1": "1"}},
        "1_x": {"vid": "1", "flg": 0, "z": [4.633], "xy": [2, 10, 20, 50, 80], "av": {}},
        "2_y": {"vid": "2", "flg": 0, "z": [0, 0.5], "xy": [], "av": {"1": "default", "2": "1,2"}},
    },
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}, "3": {"fid_list": ["3"]}},
}
VIA = json.dumps(PROJECT)
_EXPORTED = "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)\n"
VIA_CSV = (
    _EXPORTED
    + '# Notes:\n# - metadata of {""1"":""3""} indicates attribute with id "1" set to an attribute option with id "3"\n'
    + f"# ATTRIBUTE = {json.dumps(_ATTRIBUTES)}\n"
    + "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
    + '"1_mR8ks-Aa","[""rec 1.mp3""]",0,"[1.349,2.741]","[]","{""1"":""1""}"\n'
    + '"1_x","[""rec 1.mp3""]",0,"[4.633]","[2,10,20,50,80]","{}"'
)
VIA_SEGMENTS = (
    _EXPORTED
    + "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata\n"
    + '"1_mR8ks-Aa","[""rec 1.mp3""]",1.349,2.741,"{""sound"":""dog, near""}"\n'
    + '"1_x","[""rec 1.mp3""]",4.633,undefined,"{}"'
)
