SUMMARY = "Polls field devices, buffers their readings and forwards them over MQTT"
DESCRIPTION = "The gateway of Pattoo: reads Modbus, SNMP, BACnet/IP and its own host against YAML profiles, keeps each reading on disk until the server has it on stable storage, and says why where something cannot be read."

require pattoo-source.inc
require pattoo-gateway.inc

# Small, for a box in the field.
PATTOO_PROFILE = "edge"
