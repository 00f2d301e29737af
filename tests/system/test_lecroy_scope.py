"""The scope's verbs against the simulated scope over real TCP."""

import asyncio
import time

import pytest

from drivers.errors import DeviceError, DriverError
from drivers.lecroy.instrument import Vxi11Error
from drivers.lecroy.scope import Scope, waveform_name
from drivers.lecroy.simulated_scope import Channel, SimulatedScope
from drivers.lecroy.simulated_wire import Simulator
from drivers.lecroy.wavedesc import decode
from tests.watched import until


def told(story, *, rate=200.0, mode="STOP"):
    """Run a story with a connected scope and its simulator."""

    async def run() -> None:
        with Simulator(SimulatedScope(rate=rate, TRMD=mode)) as simulator:
            scope = Scope(simulator.address)
            try:
                await scope.open()
                await story(scope, simulator)
            finally:
                await scope.close()

    asyncio.run(run())


def test_identity_and_what_is_sent_at_a_connection():
    async def story(scope, simulator):
        assert str(scope.identity) == "LECROY WR610ZI, serial LCRY2801N12345, firmware 6.5.0"
        assert simulator.messages == ["*IDN?", "CHDR SHORT;CFMT DEF9,WORD,BIN;CORD LO;CORD?;ALST?"]

    told(story)


def test_a_look_at_a_scope_sets_nothing_and_misses_channels():
    async def story() -> None:
        two = {name: Channel() for name in ("C1", "C2")}
        with Simulator(SimulatedScope(channels=two, CHDR="OFF")) as simulator:
            scope = Scope(simulator.address, timeout=0.3)
            assert (await scope.identify()).model == "WR610ZI"
            assert await scope.missing_channels() == ["C3", "C4"]
            await scope.close()
            assert simulator.messages == ["*IDN?", *(f"C{n}:TRA?" for n in range(1, 5))]
            simulator.scope.vicp = True
            await scope.identify()
            with pytest.raises(DeviceError, match="Remote to LXI"):
                await scope.missing_channels()
            await scope.close()

    asyncio.run(story())


def test_every_setting_is_read_back_and_adapted_values_are_returned():
    async def story(scope, simulator):
        box, c2 = simulator.scope, simulator.scope.channels["C2"]
        assert (await scope.time_div("2.5US"), box.TDIV) == (2e-6, 2e-6)
        assert (await scope.time_div(1e-7), box.TDIV) == (1e-7, 1e-7)
        assert (await scope.volt_div(2, 0.1), c2.VDIV) == (0.1, 0.1)
        assert await scope.volt_div("C2", 50) == 1.0  # as much as it has
        assert (await scope.offset("C2", "-10 MV"), c2.OFST) == (-0.01, -0.01)
        assert (await scope.coupling(2, "D1M"), c2.CPL) == ("D1M", "D1M")
        assert (await scope.attenuation(2, 10), c2.ATTN) == (10, 10)
        assert (await scope.display(2, "off"), c2.TRA) == ("OFF", "OFF")
        assert (await scope.bandwidth_limit(2, "200MHZ"), c2.BWL) == ("200MHZ", "200MHZ")
        assert box.channels["C1"].BWL == "OFF"
        assert (await scope.trig_select("GLIT", "C3", HT="PS", HV="20 NS")) == "GLIT,SR,C3,HT,PS,HV,20 NS"
        assert (await scope.trig_level("C3", 0.7), box.sources["C3"].TRLV) == (0.7, 0.7)
        assert (await scope.trig_slope("LINE", "POS"), box.sources["LINE"].TRSL) == ("POS", "POS")
        assert (await scope.trig_coupling("EX", "HFREJ"), box.sources["EX"].TRCP) == ("HFREJ", "HFREJ")
        assert (await scope.trig_delay(20), box.TRDL) == (20, 20)
        assert (await scope.trig_delay(-1e-6), box.TRDL) == (-1e-6, -1e-6)
        assert (await scope.trig_window(1.5), box.TRWI) == (1.5, 1.5)
        assert (await scope.memory_size(1.2e6), box.MSIZ) == (1e6, 1e6)
        assert await scope.sequence("ON", 100, 500) == ("ON", 100, 500.0)
        assert (await scope.sequence("OFF"), box.SEQ) == (("OFF", 100, 500.0), "OFF")
        assert (await scope.waveform_setup(10, 100, 2, 1), box.WFSU) == ("SP,2,NP,100,FP,10,SN,1", (2, 100, 10, 1))
        assert await scope.wf_setup() == "SP,2,NP,100,FP,10,SN,1"
        assert (await scope.trig_mode("NORM"), box.TRMD) == ("NORM", "NORM")
        settings = await scope.settings()
        assert settings["C3:TRLV"] == "700E-3 V" and settings["C2:BWL"] == "200MHZ" and settings["TRDL"] == "-1E-6 S"
        assert len(settings) == 8 + 4 * 9

    told(story)


@pytest.mark.parametrize("header", ["OFF", "LONG", "SHORT"])
def test_what_another_program_does_to_the_headers_does_not_matter(header):
    async def story(scope, simulator):
        simulator.scope.CHDR = header
        assert await scope.volt_div(1, 0.2) == 0.2
        simulator.scope.CHDR = header
        assert (await scope.settings())["C1:VDIV"] == "200E-3 V"

    told(story)


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("volt_div", ("C5", 1.0), "trace 'C5'"),
        ("volt_div", ("C1", "one"), "'one' is not a number"),
        ("volt_div", ("C1", float("nan")), "not a number that can be set"),
        ("trig_mode", ("NORMAL",), "it may be AUTO, NORM, SINGLE, STOP"),
        ("trig_slope", ("C1", "UP"), "it may be POS, NEG"),
        ("trig_window", (26,), "0 .. 25 V"),
        ("sequence", ("ON", None, 500), "max_size without segments"),
        ("sequence", ("ON", 2.5), "a whole number"),
        ("waveform_setup", (0, 1.5), "a whole number"),
        ("directory", ("C:", "SWITCH", "x"), "it may be CARD, FLPY, HDD"),
        ("file_name", ("C1", "ninechars"), "at most 8"),
        ("file_name", ("SETUP", "sixsix"), "at most 5"),
        ("waveform_text", ("C1", "it's"), "without quotes"),
        ("waveform_text", ("C1", "x" * 161), "at most 160"),
        ("store_setup", ("ALWAYS",), "it may be OFF, WRAP, FILL"),
        ("waveform", ("C1", "DAT3"), "it may be DESC"),
        ("wait_acquisition", (1001,), "0 .. 1000 s"),
        ("waveform_setup", (-1,), "FP"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent(verb, arguments, said):
    async def story(scope, simulator):
        before = list(simulator.messages)
        with pytest.raises(ValueError, match=said):
            await getattr(scope, verb)(*arguments)
        assert simulator.messages == before

    told(story)


@pytest.mark.parametrize("pairs", [{"HT": "OFF;C1:VDIV 5"}, {"HT": "PS", "HV": "20 NS;STOP"}, {"SR": "C1"}])
def test_pairs_of_a_trigger_that_make_no_sense_are_refused_before_anything_is_sent(pairs):
    async def story(scope, simulator):
        before = list(simulator.messages)
        with pytest.raises(ValueError, match=r"it may be|is not a number"):
            await scope.trig_select("GLIT", "C1", **pairs)
        assert simulator.messages == before

    told(story)


def test_what_the_scope_refuses_is_told_in_words():
    async def story(scope, simulator):
        with pytest.raises(DeviceError, match=r"'NONSENSE 1': unknown command \(CMR 1\)"):
            await scope.write("NONSENSE 1")
        with pytest.raises(DeviceError, match=r"there is no waveform \(EXR 31\)"):
            await scope.waveform("C1")
        with pytest.raises(DeviceError, match=r"the scope's disk refused \(EXR 58\)"):
            await scope.delete_file("HDD", "none.trc")
        simulator.scope.channels["C3"].overload = True
        await scope.settings()
        await scope.status()  # which does not hide it
        assert scope.take_troubles() == "C3 overloaded"
        assert (await scope.settings())["C3:CPL"] == "OVL"
        assert await scope.ask("C1:VDIV?") == "C1:VDIV 100E-3 V"

    told(story)


def test_a_scope_in_vicp_mode_is_told_with_the_cure():
    async def story() -> None:
        with Simulator(SimulatedScope(vicp=True)) as simulator:
            scope = Scope(simulator.address)
            with pytest.raises(DeviceError, match="Remote to LXI"):
                await scope.open()
            await scope.close()

    asyncio.run(story())


def test_single_acquisitions_and_their_waveforms():
    async def story(scope, simulator):
        waveforms = []
        for _ in range(3):
            await scope.single()
            assert await scope.wait_acquisition(30)
            for channel in ("C1", "C2"):
                waveforms.append(decode(await scope.waveform(channel)))
        assert waveforms[0].triggered == waveforms[1].triggered < waveforms[2].triggered
        assert [each.descriptor.wave_source for each in waveforms] == [0, 1] * 3
        assert waveforms[0].codes.tolist() != waveforms[2].codes.tolist()  # nobody wrote over what is still looked at
        assert not await scope.acquired()
        measured = await scope.parameters(["MEAN", "PKPK", "DUTY"], ["C2"])
        assert measured["C2"]["PKPK"] == pytest.approx(waveforms[-1].volts().max() - waveforms[-1].volts().min(), 1e-3)
        assert measured["C2"]["DUTY"] is None

    told(story)


def test_a_sequence_and_one_that_is_stopped_early():
    async def story(scope, simulator):
        await scope.sequence("ON", 20, 500)
        await scope.single()
        assert await scope.wait_acquisition(30)
        waveform = decode(await scope.waveform(2))
        assert (waveform.segments, waveform.points) == (20, 502)
        simulator.scope.rate = 10.0
        await scope.sequence("ON", 2000)
        await scope.single()
        began = time.monotonic()
        while time.monotonic() < began + 0.5:
            assert not await scope.acquired()
        await scope.stop()
        assert await scope.wait_acquisition(30)
        waveform = decode(await scope.waveform(2))
        assert 4 <= waveform.segments < 2000 and waveform.descriptor.nom_subarray_count == 2000

    told(story)


def test_arm_and_force():
    async def story(scope, simulator):
        await scope.force()
        assert await scope.wait_acquisition(30)
        await scope.arm()
        assert not await scope.wait_acquisition(0.1)
        await scope.arm()  # armed already: it forces
        assert await scope.wait_acquisition(30)
        assert simulator.scope.acquired == 2

    told(story, rate=0.0)


def test_the_scopes_own_disk():
    async def story(scope, simulator):
        box = simulator.scope
        await scope.single()
        await scope.wait_acquisition(30)
        assert await scope.file_name("C2", "pico") == "TYPE,C2,FILE,'pico'"
        await scope.store(2)
        assert list(box.stored) == ["C2pico00000.trc"]
        assert "C2pico00000.trc" in await scope.listing("HDD")
        await scope.delete_file("HDD", "C2pico00000.trc")
        assert not box.stored
        assert await scope.store_setup("WRAP", "all") == "ALL_DISPLAYED,HDD,AUTO,WRAP,FORMAT,BINARY"
        assert await scope.autostore() == "ALL_DISPLAYED,HDD,AUTO,WRAP,FORMAT,BINARY"
        await scope.single()
        await scope.wait_acquisition(30)
        assert len(box.stored) == 4
        await scope.directory("HDD", "SWITCH", "run7")
        assert box.folder == "run7"
        await scope.waveform_text("C2", "Ar/CO2")
        await scope.single()
        await scope.wait_acquisition(30)
        assert decode(await scope.waveform(2)).user_text == b"Ar/CO2"
        box.disk_full = True
        with pytest.raises(DeviceError, match="disk refused"):
            await scope.store("C1")

    told(story)


@pytest.mark.parametrize("fault", ["truncated", "lying"])
def test_a_block_that_lies_is_refused_and_the_next_is_read(fault):
    async def story(scope, simulator):
        await scope.single()
        await scope.wait_acquisition(30)
        setattr(simulator.faults, fault, 1)
        with pytest.raises(DriverError, match="waveform block"):
            decode(await scope.waveform(1))
        assert decode(await scope.waveform(1)).points == 1002
        simulator.faults.unknown = True
        assert decode(await scope.waveform(1)).descriptor.words()["timebase"] == 0x7777

    told(story)


def test_a_wait_that_is_broken_off():
    async def story(scope, simulator):
        await scope.single()
        waiting = asyncio.create_task(scope.wait_acquisition())
        asked = len(simulator.messages)
        await until(lambda: len(simulator.messages) > asked, "a question")
        began = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await scope.open()  # a call that is cancelled has hung up
        asking = asyncio.create_task(scope.link.ask("WAIT 60;*OPC?", 90.0))
        await until(lambda: any("WAIT" in message for message in simulator.messages), "WAIT")
        await scope.link.abort()
        with pytest.raises(Vxi11Error, match="abort"):
            await asking
        assert time.monotonic() - began < 10

    told(story, rate=0.0)


def test_the_name_that_the_analysis_looks_for():
    assert str(waveform_name("data", 2, "run7-00001")) == "data/C2-run7-00001.trc"
    with pytest.raises(ValueError, match="C9"):
        waveform_name("data", 9, "x")
