"""nvidia-smi's XML, of old and new drivers, of GeForce and data centre cards."""

from __future__ import annotations

import pytest

from provision.assess import nvidia_smi

NEW = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>580.95.05</driver_version>
  <attached_gpus>2</attached_gpus>
  <gpu id="00000000:0A:00.0">
    <product_name>NVIDIA A100 80GB PCIe</product_name>
    <vbios_version>92.00.68.00.01</vbios_version>
    <fan_speed>N/A</fan_speed>
    <utilization><gpu_util>97 %</gpu_util></utilization>
    <retired_pages>
      <multiple_single_bit_retirement><retired_count>N/A</retired_count></multiple_single_bit_retirement>
      <double_bit_retirement><retired_count>N/A</retired_count></double_bit_retirement>
    </retired_pages>
    <remapped_rows>
      <remapped_row_corr>2</remapped_row_corr><remapped_row_unc>1</remapped_row_unc>
      <remapped_row_pending>Yes</remapped_row_pending>
      <remapped_row_failure>No</remapped_row_failure>
    </remapped_rows>
    <temperature><gpu_temp>71 C</gpu_temp><memory_temp>83 C</memory_temp>
      <gpu_temp_slow_threshold>92 C</gpu_temp_slow_threshold></temperature>
    <gpu_power_readings><current_power_limit>250.00 W</current_power_limit>
      <default_power_limit>300.00 W</default_power_limit></gpu_power_readings>
  </gpu>
  <gpu id="00000001:0B:00.0"><product_name>NVIDIA GeForce RTX 3090</product_name>
    <remapped_rows>N/A</remapped_rows></gpu>
</nvidia_smi_log>
"""
OLD = """<nvidia_smi_log><gpu id="00000000:01:00.0">
  <product_name>Tesla P100-PCIE-16GB</product_name>
  <retired_pages>
    <multiple_single_bit_retirement><retired_count>3</retired_count></multiple_single_bit_retirement>
    <double_bit_retirement><retired_count>1</retired_count></double_bit_retirement>
    <pending_blacklist>No</pending_blacklist>
  </retired_pages>
  <power_readings><power_limit>180.00 W</power_limit>
    <default_power_limit>250.00 W</default_power_limit></power_readings>
</gpu></nvidia_smi_log>"""


def test_xml_of_a_new_driver_is_parsed() -> None:
    first, second = nvidia_smi.parse(NEW)
    assert first == nvidia_smi.Smi(
        address="0000:0a:00.0",
        name="NVIDIA A100 80GB PCIe",
        vbios="92.00.68.00.01",
        celsius=71,
        memory_celsius=83,
        slowdown_celsius=92,
        fan=None,
        busy=97,
        power_limit=250,
        power_default=300,
        retired=None,
        remapped=3,
        uncorrectable=1,
        pending=True,
        failed=False,
    )
    assert second.address == "0001:0b:00.0"
    assert second.remapped is None
    assert second.celsius is None


def test_xml_of_an_old_driver_is_parsed() -> None:
    (gpu,) = nvidia_smi.parse(OLD)
    assert (gpu.retired, gpu.uncorrectable, gpu.pending) == (4, 1, False)
    assert (gpu.power_limit, gpu.power_default) == (180, 250)


@pytest.mark.parametrize(
    "text",
    ["", "NVIDIA-SMI has failed", "<nvidia_smi_log>", "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"],
)
def test_invalid_xml_gives_no_gpus(text: str) -> None:
    assert nvidia_smi.parse(text) == []
