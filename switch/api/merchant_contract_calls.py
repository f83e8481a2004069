"""MerchantService: settlement accounts and contracts."""

from payswitch.v1 import merchant_pb2 as pb
from switch.api import merchant_answers as answers
from switch.api import merchant_fields as fields
from switch.api.merchant_parts import MerchantParts
from switch.domain.access import Caller
from switch.domain.merchant_record import SettlementAccount


class ContractCalls(MerchantParts):
    async def ProposeSettlementAccount(
        self, request: pb.ProposeSettlementAccountRequest, caller: Caller
    ) -> pb.ProposeSettlementAccountResponse:
        merchant_id, account = fields.merchant_id(request.merchant_id), fields.bank_account(request.account)
        proposed = await self.accounts.propose(caller, merchant_id, account)
        return pb.ProposeSettlementAccountResponse(account=self._account(proposed))

    async def ApproveSettlementAccount(
        self, request: pb.ApproveSettlementAccountRequest, caller: Caller
    ) -> pb.ApproveSettlementAccountResponse:
        merchant_id, account_id = fields.merchant_id(request.merchant_id), fields.uuid(request.account_id, "account_id")
        approved = await self.accounts.approve(caller, merchant_id, account_id)
        return pb.ApproveSettlementAccountResponse(account=self._account(approved))

    async def CancelSettlementAccount(
        self, request: pb.CancelSettlementAccountRequest, caller: Caller
    ) -> pb.CancelSettlementAccountResponse:
        merchant_id, account_id = fields.merchant_id(request.merchant_id), fields.uuid(request.account_id, "account_id")
        cancelled = await self.accounts.cancel(caller, merchant_id, account_id)
        return pb.CancelSettlementAccountResponse(account=self._account(cancelled))

    async def ListSettlementAccounts(
        self, request: pb.ListSettlementAccountsRequest, caller: Caller
    ) -> pb.ListSettlementAccountsResponse:
        found, now_ms = await self.accounts.of(caller, fields.merchant_id(request.merchant_id)), self.clock.time_ms()
        accounts = [answers.settlement_account(each, found, now_ms) for each in found]
        return pb.ListSettlementAccountsResponse(accounts=accounts)

    def _account(self, account: SettlementAccount) -> pb.SettlementAccount:
        return answers.settlement_account(account, [account], self.clock.time_ms())

    # --- contracts ----------------------------------------------------------------------------------------------------

    async def ProposeContract(self, request: pb.ProposeContractRequest, caller: Caller) -> pb.ProposeContractResponse:
        terms = fields.terms(fields.merchant_id(request.merchant_id), request.terms)
        return pb.ProposeContractResponse(contract=answers.contract(await self.contracts.propose(caller, terms)))

    async def ApproveContract(self, request: pb.ApproveContractRequest, caller: Caller) -> pb.ApproveContractResponse:
        version = await self.contracts.approve(caller, fields.merchant_id(request.merchant_id), request.version)
        return pb.ApproveContractResponse(contract=answers.contract(version))

    async def RefuseContract(self, request: pb.RefuseContractRequest, caller: Caller) -> pb.RefuseContractResponse:
        version = await self.contracts.refuse(caller, fields.merchant_id(request.merchant_id), request.version)
        return pb.RefuseContractResponse(contract=answers.contract(version))

    async def ListContracts(self, request: pb.ListContractsRequest, caller: Caller) -> pb.ListContractsResponse:
        found = await self.contracts.of(caller, fields.merchant_id(request.merchant_id))
        return pb.ListContractsResponse(contracts=[answers.contract(each) for each in found])
